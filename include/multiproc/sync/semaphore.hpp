// SPDX-License-Identifier: MIT
//
// multiproc/sync/semaphore.hpp: a counter that nobody takes below zero.
//
// Any thread of any process that has it may raise it, and lower it, as producers and consumers need: a count has no
// owner. (Permits that belong to whoever acquired them are BoundedSemaphore's.) A Semaphore is a handle: copies name
// the same counter, a forked child has it, and it may be sent to any process of this machine.
//
// Visibility  What a process did before release() is visible to those whose acquire() took what it gave.
// Death       Nothing comes back when a process ends; value() stays exact. Killed waiters are forgotten. Killed inside
//             release(): it happened or it did not; where it did, those who slept know within 50 ms (200, where they
//             slept long).
// Signals     release() is async-signal-safe for counts that are allowed.
// Cost        No system call but to sleep, and in release() while somebody may sleep.
// Stands on   shm/segment.hpp, sync/parking.hpp.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc {

namespace detail {

/// bits 0..30  the count
/// bit 31      somebody may sleep; they sleep only while the count is 0
struct SemaphoreState {
  static constexpr std::uint32_t kCount = 0x7fff'ffff;
  static constexpr std::uint32_t kSleepers = 0x8000'0000;

  explicit SemaphoreState(std::uint32_t count) noexcept : word(count) {}

  std::atomic<std::uint32_t> word;

  bool wait(Deadline deadline);
  void wake_sleepers(std::uint32_t seen, std::uint32_t count) noexcept;
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(SemaphoreState) == 4);

[[noreturn]] void throw_semaphore_count(std::ptrdiff_t count, std::ptrdiff_t least);

/// `count` if it is one, `least` or more; else an Error.
inline std::uint32_t semaphore_count(std::ptrdiff_t count, std::ptrdiff_t least) {
  if (count < least || count > std::ptrdiff_t{SemaphoreState::kCount}) [[unlikely]]
    throw_semaphore_count(count, least);
  return static_cast<std::uint32_t>(count);
}
[[noreturn]] void throw_semaphore_full(std::uint32_t count, std::uint32_t more);

}  // namespace detail

/// Example:
///
///     Semaphore items{0};
///     Process producer{[](Semaphore out) { make_one(); out.release(); }, items};
///     producer.start();
///     items.acquire();   // one is there
class Semaphore {
 public:
  /// The largest count.
  static constexpr std::ptrdiff_t max() noexcept { return detail::SemaphoreState::kCount; }

  /// A new counter, at `value`, 0 to max(). SystemError: no memory, no descriptor.
  explicit Semaphore(std::ptrdiff_t value = 1)
      : state_(detail::Shared<detail::SemaphoreState>::make(detail::semaphore_count(value, 0))) {}

  // No moves: a handle that was moved from would name nothing.
  Semaphore(const Semaphore&) = default;
  Semaphore& operator=(const Semaphore&) = default;

  /// Blocks until the count is above zero, and takes one from it.
  void acquire() const { (void)acquire(Deadline::never()); }

  /// The same until the deadline. False: nothing was taken. A deadline that has passed tries once.
  [[nodiscard]] bool acquire(Deadline deadline) const {
    if (try_acquire()) [[likely]]
      return true;
    return state_->wait(deadline);
  }

  [[nodiscard]] bool try_acquire() const noexcept {
    std::uint32_t word = state_->word.load(std::memory_order_relaxed);
    while ((word & detail::SemaphoreState::kCount) != 0) {
      if (state_->word.compare_exchange_weak(word, word - 1, std::memory_order_acquire, std::memory_order_relaxed)) {
        return true;
      }
    }
    return false;
  }

  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& from_now) const {
    return acquire(Deadline(from_now));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& at) const {
    return detail::wait_until_clock(at, [this](Deadline deadline) { return acquire(deadline); });
  }

  /// Adds n, 1 or more, and wakes as many. Error: n is less, or the count would pass max(); it is as before then.
  void release(std::ptrdiff_t n = 1) const {
    using State = detail::SemaphoreState;
    const std::uint32_t more = detail::semaphore_count(n, 1);
    std::uint32_t word = state_->word.load(std::memory_order_relaxed);
    do {
      if (State::kCount - (word & State::kCount) < more) [[unlikely]]
        detail::throw_semaphore_full(word & State::kCount, more);
    } while (
        !state_->word.compare_exchange_weak(word, word + more, std::memory_order_release, std::memory_order_relaxed));
    if ((word & State::kSleepers) != 0) [[unlikely]]
      state_->wake_sleepers(word + more, more);
  }

  /// The count at this moment.
  std::ptrdiff_t value() const noexcept {
    return state_->word.load(std::memory_order_relaxed) & detail::SemaphoreState::kCount;
  }

  /// Do both name the same counter?
  friend bool operator==(const Semaphore& a, const Semaphore& b) noexcept { return a.state_.get() == b.state_.get(); }

 private:
  friend struct Travel<Semaphore>;
  explicit Semaphore(detail::Shared<detail::SemaphoreState> state) noexcept : state_(std::move(state)) {}

  detail::Shared<detail::SemaphoreState> state_;
};

template <>
struct Travel<Semaphore> {
  template <class Encoder>
  static void encode(Encoder& to, const Semaphore& semaphore) {
    detail::send_place(to, semaphore.state_.place());
  }
  template <class Decoder>
  static Semaphore decode(Decoder& from) {
    return Semaphore(detail::Shared<detail::SemaphoreState>::at(detail::receive_place(from)));
  }
};

}  // namespace multiproc
