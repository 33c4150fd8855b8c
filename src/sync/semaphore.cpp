// SPDX-License-Identifier: MIT

#include <multiproc/sync/semaphore.hpp>

#include <string>

#include <multiproc/error.hpp>
#include <multiproc/sync/parking.hpp>

namespace multiproc::detail {

// The mark of the sleepers stays while there may be any: a release that sees it wakes as many as it added, whatever
// became of those who were woken before. It goes when fewer were there to be woken, if the word is still the same; who
// falls asleep later sets it again.
void SemaphoreState::wake_sleepers(std::uint32_t seen, std::uint32_t count) noexcept {
  const int woken = unpark(word, static_cast<int>(count));
  if (woken < 0 || static_cast<std::uint32_t>(woken) >= count) return;
  word.compare_exchange_strong(seen, seen & ~kSleepers, std::memory_order_relaxed);
}

bool SemaphoreState::wait(Deadline deadline) {
  // Who slept knows nothing of those who sleep beside it, nor whether a release that found nobody took their mark away
  // just as they came. It leaves the mark behind, which costs the next release one look.
  std::uint32_t mark = 0;
  const auto is_above_zero = [&] { return (word.load(std::memory_order_relaxed) & kCount) != 0; };
  if (!deadline.passed()) (void)spin_until(is_above_zero);
  for (unsigned sleeps = 0;;) {
    std::uint32_t now = word.load(std::memory_order_relaxed);
    if ((now & kCount) != 0) {
      if (word.compare_exchange_weak(now, (now - 1) | mark, std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
      continue;
    }
    if (deadline.passed()) return false;
    if (now == 0 && !word.compare_exchange_weak(now, kSleepers, std::memory_order_relaxed)) continue;
    park(word, kSleepers, deadline, sleeps++);
    mark = kSleepers;
  }
}

void throw_semaphore_count(std::ptrdiff_t count, std::ptrdiff_t least) {
  throw Error("Semaphore: " + std::to_string(count) + " is no count: " + std::to_string(least) + " to " +
              std::to_string(SemaphoreState::kCount) + " are");
}

void throw_semaphore_full(std::uint32_t count, std::uint32_t more) {
  throw Error("Semaphore::release(" + std::to_string(more) + ") at " + std::to_string(count) + ": more than " +
              std::to_string(SemaphoreState::kCount) +
              " can't be counted. Is something released that was never acquired?");
}

}  // namespace multiproc::detail
