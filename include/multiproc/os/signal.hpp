// SPDX-License-Identifier: MIT
//
// multiproc/os/signal.hpp: the calling thread's signal mask, for a while.
#pragma once

#include <csignal>

namespace multiproc::os {

/// Blocks every signal in the calling thread while it lives. Around fork(), so that no handler of the program runs
/// in a child that is not yet ready for it (glibc before 2.41 has no robust list there: glibc bug 32215).
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() noexcept;
  ~AllSignalsBlocked();
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

  /// Makes the mask what it was, for a thread that does not come to the destructor.
  void restore() const noexcept;

 private:
  sigset_t before_;
};

}  // namespace multiproc::os
