// SPDX-License-Identifier: MIT

#include <multiproc/sync/parking.hpp>

#include <algorithm>
#include <cerrno>

#include <multiproc/os/futex.hpp>
#include <multiproc/os/self.hpp>

namespace multiproc::detail {

namespace {

// Some 10 us of looks: what it costs to sleep and to be woken again on a machine that has nothing else to do.
constexpr unsigned kMostLooks = 256;
constexpr unsigned kFewestLooks = 4;  // so that it is seen when times get better
constexpr unsigned kOneCpu = 0;
constexpr unsigned kUnknown = ~0U;

constinit std::atomic<unsigned> limit_now{kUnknown};

unsigned first_limit() noexcept {
  try {
    return os::usable_cpus() > 1 ? kMostLooks / 2 : kOneCpu;
  } catch (...) {
    return kOneCpu;  // no memory to find it out with
  }
}

}  // namespace

void park(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Deadline deadline, unsigned sleeps) {
  const Deadline look = sleeps < kManySleeps ? kLongestSleep : kLongestLateSleep;
  (void)os::futex_wait(word, expected, Deadline::earlier(deadline, look)).or_throw("a word in shared memory");
}

int unpark(const std::atomic<std::uint32_t>& word, int count) noexcept {
  const int kept = errno;
  const auto woken = os::futex_wake(word, count);
  errno = kept;
  return woken ? woken.value() : -1;
}

unsigned spin_limit() noexcept {
  const unsigned limit = limit_now.load(std::memory_order_relaxed);
  if (limit != kUnknown) return limit;
  const unsigned first = first_limit();
  limit_now.store(first, std::memory_order_relaxed);
  return first;
}

// Threads that do this at once may lose each other's word: it is a rule of thumb anyway.
void spun(unsigned looks, unsigned limit) noexcept {
  if (limit == kOneCpu) return;
  const unsigned next = looks < limit ? limit + limit / 4 + 1 : limit - limit / 8 - 1;
  const unsigned kept = std::clamp(next, kFewestLooks, kMostLooks);
  if (kept != limit) limit_now.store(kept, std::memory_order_relaxed);
}

}  // namespace multiproc::detail
