// SPDX-License-Identifier: MIT
//
// multiproc/sync/rlock.hpp: a Lock that its owner may take again.
//
// As Lock in everything, but that the owning thread takes it as often as it likes, and others have to wait until it has
// released it as often. The owner is a thread of a process: the lock itself knows it, no number in memory that could
// outlive it.
//
// Visibility  What an owner did before its last release is visible to the owner after it.
// Death       An RLock whose owner ends is handed on at once, however often it had been taken; the next owner is told
//             and has taken it once. Waiters that are killed are forgotten.
// Fork        A child that is forked while the lock is held does not own it, nor may unwind past its guards.
// Limits      Those of Lock; however often it is taken, it counts as one of its thread's 2048.
// Stands on   sync/lock.hpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/segment.hpp>
#include <multiproc/sync/lock.hpp>

namespace multiproc {

namespace detail {

struct RLockState {
  os::RobustMutex mutex;
  std::uint32_t depth = 0;  // how often its owner has it: the owner's alone, who begins by writing it
};

Shared<RLockState> make_rlock();
Acquired finish_rlock(RLockState& state, os::LockOutcome outcome, Deadline deadline);

}  // namespace detail

/// Example:
///
///     RLock lock;
///     void add() { std::scoped_lock held(lock); grow(); }
///     void grow() { std::scoped_lock held(lock); }   // called from add(), or by itself
class RLock {
 public:
  /// A new lock. SystemError: no memory, no descriptor.
  RLock() : state_(detail::make_rlock()) {}

  RLock(const RLock&) = default;
  RLock& operator=(const RLock&) = default;

  /// Blocks until the lock is ours; at once when it is already. InvalidState: this thread owns 2048 other locks.
  Acquired lock() const { return acquire(Deadline::never()); }
  Acquired acquire() const { return acquire(Deadline::never()); }

  /// The same until the deadline: then `timed_out`. A deadline that has passed tries once.
  [[nodiscard]] Acquired acquire(Deadline deadline) const {
    const os::LockOutcome outcome = state_->mutex.try_lock();
    if (outcome == os::LockOutcome::clean) [[likely]] {
      state_->depth = 1;
      return Acquired::clean;
    }
    return detail::finish_rlock(*state_, outcome, deadline);
  }
  template <class Rep, class Period>
  [[nodiscard]] Acquired try_lock_for(const std::chrono::duration<Rep, Period>& from_now) const {
    return acquire(Deadline(from_now));
  }
  template <class Clock, class Duration>
  [[nodiscard]] Acquired try_lock_until(const std::chrono::time_point<Clock, Duration>& at) const {
    return detail::wait_until_clock(at, [this](Deadline deadline) { return acquire(deadline); });
  }
  [[nodiscard]] Acquired try_lock() const { return acquire(Deadline::now()); }

  /// Gives back one taking. InvalidState: another thread owns it, or nobody.
  void unlock() const {
    if (!state_->mutex.is_mine()) [[unlikely]]
      detail::throw_not_owner("RLock");
    if (state_->depth > 1) {
      --state_->depth;
    } else if (!state_->mutex.unlock()) [[unlikely]] {
      detail::throw_not_owner("RLock");
    }
  }
  void release() const { unlock(); }

  /// Whether anybody owns it; whether the calling thread does. The first may be old news when it arrives.
  bool locked() const noexcept { return state_->mutex.is_held(); }
  bool is_mine() const noexcept { return state_->mutex.is_mine(); }

  /// Do both name the same lock?
  friend bool operator==(const RLock& a, const RLock& b) noexcept { return a.state_.get() == b.state_.get(); }

 private:
  friend struct Travel<RLock>;
  explicit RLock(detail::Shared<detail::RLockState> state) noexcept : state_(std::move(state)) {}

  detail::Shared<detail::RLockState> state_;
};

template <>
struct Travel<RLock> {
  template <class Encoder>
  static void encode(Encoder& to, const RLock& lock) {
    detail::send_place(to, lock.state_.place());
  }
  template <class Decoder>
  static RLock decode(Decoder& from) {
    return RLock(detail::Shared<detail::RLockState>::at(detail::receive_place(from)));
  }
};

}  // namespace multiproc
