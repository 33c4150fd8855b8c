// SPDX-License-Identifier: MIT
//
// support/child.hpp: a forked process with its place among the CPUs.
#pragma once

#include <functional>

namespace bench {

/// Keeps the calling process on the `index`-th of the CPUs that it may use, counted round and round.
void hold_on_cpu(unsigned index);

/// A child that runs `body`, on a CPU of its choice, and ends by exit code 0 when that was true.
class Child {
 public:
  Child(unsigned cpu, const std::function<bool()>& body);
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child();

  /// Waits for its end. Whether that was with exit code 0.
  bool ended_well();

 private:
  int pid_;
};

/// For its lifetime the calling process stays on the first CPU, and then on those where it was before.
class FirstCpu {
 public:
  FirstCpu();
  FirstCpu(const FirstCpu&) = delete;
  FirstCpu& operator=(const FirstCpu&) = delete;
  ~FirstCpu();

 private:
  unsigned long before_[16];  // a cpu_set_t
};

}  // namespace bench
