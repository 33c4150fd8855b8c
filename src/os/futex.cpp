// SPDX-License-Identifier: MIT

#include <multiproc/os/futex.hpp>

#include <cerrno>

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/fault.hpp"

namespace multiproc::os {

static_assert(sizeof(std::atomic<std::uint32_t>) == 4 && std::atomic<std::uint32_t>::is_always_lock_free,
              "the kernel reads this word as a plain aligned u32");

// WAIT_BITSET, unlike WAIT, takes an absolute CLOCK_MONOTONIC time (futex(2)): a wait restarted after a signal needs
// no arithmetic.
Result<WaitOutcome> futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                               Deadline deadline) noexcept {
  const auto until = deadline.as_monotonic();
  for (;;) {
    int error = fault::injected("futex");
    if (error == 0) {
      const long rc = ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, expected, until ? &*until : nullptr, nullptr,
                                FUTEX_BITSET_MATCH_ANY);
      if (rc == 0) return WaitOutcome::woken;
      error = errno;
    }
    switch (error) {
      case EINTR: continue;
      case EAGAIN: return WaitOutcome::value_changed;
      case ETIMEDOUT: return WaitOutcome::timed_out;
      default: return Failure{"futex", error};
    }
  }
}

Result<int> futex_wake(const std::atomic<std::uint32_t>& word, int count) noexcept {
  if (const int error = fault::injected("futex")) return Failure{"futex", error};
  if (count <= 0) return 0;  // the kernel would wake one
  const long woken = ::syscall(SYS_futex, &word, FUTEX_WAKE, count, nullptr, nullptr, 0);
  if (woken < 0) return Failure{"futex", errno};
  return static_cast<int>(woken);
}

}  // namespace multiproc::os
