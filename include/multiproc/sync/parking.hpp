// SPDX-License-Identifier: MIT
//
// multiproc/sync/parking.hpp: how those wait who wait for a word in shared memory: they spin for about as long as a
// wake-up costs, then they sleep.
//
// Spinning pays when the other side runs at the same time on another CPU, and is waste otherwise. So there is none
// where this process had one CPU when it began to wait, and elsewhere it grows and shrinks with its success.
//
// Death       A sleep lasts 50 ms at most, and 200 ms where the caller has slept 20 times before; then it looks for
//             itself. So nobody hangs who should have been woken by a process that was killed after its change to the
//             word and before its call, or together with a sleeper that was killed when it had just been woken. Such a
//             look takes some 10 us.
// Stands on   os/futex.hpp.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include <multiproc/deadline.hpp>

namespace multiproc::detail {

/// The longest sleep without a look at the word; and that of those who have been asleep for long.
inline constexpr std::chrono::milliseconds kLongestSleep{50};
inline constexpr std::chrono::milliseconds kLongestLateSleep{200};
inline constexpr unsigned kManySleeps = 20;

/// Sleeps while `word` holds `expected`; for no longer than kLongestSleep, nor beyond the deadline, and perhaps for no
/// reason: look at the word and come again. `sleeps` is how often the caller has slept in this wait.
void park(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Deadline deadline, unsigned sleeps = 0);

/// Wakes up to `count` of those who sleep on `word`; how many, or -1 where the kernel refused. Async-signal-safe, errno
/// included.
int unpark(const std::atomic<std::uint32_t>& word, int count) noexcept;
inline constexpr int kEverybody = 0x7fff'ffff;

/// How many looks are worth it now, and how it went: all of `looks` used up means in vain.
unsigned spin_limit() noexcept;
void spun(unsigned looks, unsigned limit) noexcept;

inline void relax_cpu() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Asks `is_ready()` again and again, for a moment. True: it was.
template <class IsReady>
bool spin_until(IsReady is_ready) noexcept(noexcept(is_ready())) {
  const unsigned limit = spin_limit();
  for (unsigned look = 0; look < limit; ++look) {
    if (is_ready()) {
      spun(look, limit);
      return true;
    }
    relax_cpu();
  }
  spun(limit, limit);
  return false;
}

}  // namespace multiproc::detail
