// SPDX-License-Identifier: MIT

#include <multiproc/sync/event.hpp>

#include <multiproc/sync/parking.hpp>

namespace multiproc::detail {

// The mark of the sleepers goes only if the word is still the one that they were woken for: who falls asleep after a
// clear() needs it. Until then further calls of set() wake them too, should this one be killed before it has.
void EventState::wake_sleepers(std::uint32_t seen) noexcept {
  if (unpark(word, kEverybody) < 0) return;
  word.compare_exchange_strong(seen, seen & ~kSleepers, std::memory_order_relaxed);
}

bool EventState::wait(std::uint32_t first, Deadline deadline) {
  std::uint32_t now = first;
  const auto was_set = [&] {
    now = word.load(std::memory_order_acquire);
    return (now & kSet) != 0 || ((now ^ first) & kTimes) != 0;
  };
  if (deadline.passed()) return was_set();
  if (spin_until(was_set)) return true;
  for (unsigned sleeps = 0; !was_set(); ++sleeps) {
    if (deadline.passed()) return false;
    if ((now & kSleepers) == 0 && !word.compare_exchange_strong(now, now | kSleepers, std::memory_order_relaxed)) {
      continue;
    }
    park(word, now | kSleepers, deadline, sleeps);
  }
  return true;
}

}  // namespace multiproc::detail
