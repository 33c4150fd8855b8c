// SPDX-License-Identifier: MIT
//
// The system call under every wake-up, and nothing else.

#include <atomic>
#include <cstdint>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include "lock/workload.hpp"

namespace {

struct Futex {
  std::atomic<std::uint32_t> word{0};

  bool wait() {
    while (word.exchange(0) == 0) ::syscall(SYS_futex, &word, FUTEX_WAIT, 0, nullptr, nullptr, 0);
    return true;
  }
  void wake() {
    word = 1;
    ::syscall(SYS_futex, &word, FUTEX_WAKE, 1, nullptr, nullptr, 0);
  }
};

BENCHMARK(lock_bench::wake<Futex>)->Name("wake_raw_futex")->UseManualTime()->Iterations(1);

}  // namespace
