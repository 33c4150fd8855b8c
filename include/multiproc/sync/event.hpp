// SPDX-License-Identifier: MIT
//
// multiproc/sync/event.hpp: a flag that any number of threads and processes wait for.
//
// An Event is a handle: copies name the same event, a forked child has it, and it may be sent to any process of this
// machine. Whoever waits when set() is called comes back, even if clear() follows at once.
//
// Visibility  What a process did before set() is visible to those whose wait() or is_set() came back true for it.
// Death       Killed waiters are forgotten. Killed inside set(): the event is set or it is not; where it is, those who
//             slept know within 50 ms (200, where they slept long).
// Signals     set(), clear() and is_set() are async-signal-safe, and wait for nobody.
// Cost        No system call but to sleep, and in set() while somebody may sleep.
// Stands on   shm/segment.hpp, sync/parking.hpp.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc {

namespace detail {

/// bit 0       it is set
/// bit 1       somebody may sleep
/// bits 2..31  how often it was cleared: who waited through one of those knows that it had been set
struct EventState {
  static constexpr std::uint32_t kSet = 1;
  static constexpr std::uint32_t kSleepers = 2;
  static constexpr std::uint32_t kOneMore = 4;
  static constexpr std::uint32_t kTimes = ~(kSet | kSleepers);

  std::atomic<std::uint32_t> word{0};

  void wake_sleepers(std::uint32_t seen) noexcept;
  bool wait(std::uint32_t first, Deadline deadline);
};
static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(EventState) == 4);

}  // namespace detail

/// Example:
///
///     Event ready;
///     Process child{[](Event go) { go.wait(); work(); }, ready};
///     child.start();
///     ready.set();
class Event {
 public:
  /// A new event, not set. SystemError: no memory, no descriptor.
  Event() : state_(detail::Shared<detail::EventState>::make()) {}

  // No moves: a handle that was moved from would name nothing.
  Event(const Event&) = default;
  Event& operator=(const Event&) = default;

  /// Sets it, until clear(), and wakes all who wait.
  void set() const noexcept {
    const std::uint32_t before = state_->word.fetch_or(detail::EventState::kSet, std::memory_order_acq_rel);
    if ((before & detail::EventState::kSleepers) != 0) [[unlikely]]
      state_->wake_sleepers(before | detail::EventState::kSet);
  }

  void clear() const noexcept {
    using State = detail::EventState;
    std::uint32_t word = state_->word.load(std::memory_order_relaxed);
    while ((word & State::kSet) != 0 &&
           !state_->word.compare_exchange_weak(word, (word & State::kTimes) + State::kOneMore,
                                               std::memory_order_acq_rel, std::memory_order_relaxed)) {
    }
  }

  bool is_set() const noexcept {
    return (state_->word.load(std::memory_order_acquire) & detail::EventState::kSet) != 0;
  }

  /// Blocks until it is set.
  void wait() const { (void)wait(Deadline::never()); }

  /// The same until the deadline. False: it was not set in that time. A deadline that has passed looks once.
  bool wait(Deadline deadline) const {
    const std::uint32_t word = state_->word.load(std::memory_order_acquire);
    if ((word & detail::EventState::kSet) != 0) [[likely]]
      return true;
    return state_->wait(word, deadline);
  }
  template <class Rep, class Period>
  bool wait_for(const std::chrono::duration<Rep, Period>& from_now) const {
    return wait(Deadline(from_now));
  }
  template <class Clock, class Duration>
  bool wait_until(const std::chrono::time_point<Clock, Duration>& at) const {
    return detail::wait_until_clock(at, [this](Deadline deadline) { return wait(deadline); });
  }

  /// Do both name the same event?
  friend bool operator==(const Event& a, const Event& b) noexcept { return a.state_.get() == b.state_.get(); }

 private:
  friend struct Travel<Event>;
  explicit Event(detail::Shared<detail::EventState> state) noexcept : state_(std::move(state)) {}

  detail::Shared<detail::EventState> state_;
};

template <>
struct Travel<Event> {
  template <class Encoder>
  static void encode(Encoder& to, const Event& event) {
    detail::send_place(to, event.state_.place());
  }
  template <class Decoder>
  static Event decode(Decoder& from) {
    return Event(detail::Shared<detail::EventState>::at(detail::receive_place(from)));
  }
};

}  // namespace multiproc
