// SPDX-License-Identifier: MIT
//
// multiproc/sync/lock.hpp: one at a time, among threads and processes together.
//
// A Lock is a handle: copies name the same lock, a forked child has it, and it may be sent to any process of this
// machine. std::scoped_lock, std::unique_lock and std::lock take it. The thread that took it owns it and is the only
// one that can release it; taking it twice is an error (see RLock).
//
// Visibility  What an owner did before it released the lock is visible to the owner after it.
// Death       A lock whose owner ends, by any end, is handed on at once, and the next owner is told: what the lock
//             guards may be half done. Waiters that are killed are forgotten. An owner that is stopped keeps it.
// Fork        A child that is forked while the lock is held does not own it: it waits for its parent like everybody
//             else, and can't release it. So a child must not unwind past a guard that was made before the fork:
//             leave it by _exit(2), or hold nothing where you fork.
// Signals     A handler must not take it: it may have interrupted its owner. Event::set() is for handlers.
// Limits      2048 locks held at once by one thread, of all kinds together; the next is refused, for the kernel would
//             not hand it on. Owners are thread ids: everybody lives in one pid namespace.
// Cost        No system call as long as nobody waits.
// Stands on   os/robust_mutex.hpp, shm/segment.hpp.
#pragma once

#include <chrono>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc {

namespace detail {
namespace acquired {
// Unscoped, so that it is also the bool "have I got it?"; in a namespace of its own, so that its words stay there.
enum Acquired { timed_out = 0, clean = 1, owner_died = 2 };
}  // namespace acquired

/// A new mutex in shared memory.
Shared<os::RobustMutex> make_mutex();

/// Goes on where a first try_lock() answered `outcome`, which is not clean: waits, or throws what `name` refuses.
acquired::Acquired finish_lock(os::RobustMutex& mutex, os::LockOutcome outcome, Deadline deadline, const char* name);
/// For try_lock(), which waits for nobody.
acquired::Acquired finish_try_lock(os::LockOutcome outcome, const char* name);

[[noreturn]] void throw_not_owner(const char* name);

}  // namespace detail

/// How a lock was had, or that it was not: false when timed_out, true otherwise.
///   clean        like any other time
///   owner_died   the owner before us ended while it held the lock: look after what the lock guards
/// Both are "true" and not equal to `true`: ask `if (acquired)`.
using Acquired = detail::acquired::Acquired;

/// Example:
///
///     Lock lock;
///     Process worker{[](Lock mine) { std::scoped_lock held(mine); /* alone */ }, lock};
class Lock {
 public:
  /// A new lock. SystemError: no memory, no descriptor.
  Lock() : mutex_(detail::make_mutex()) {}

  // No moves: a handle that was moved from would name nothing.
  Lock(const Lock&) = default;
  Lock& operator=(const Lock&) = default;

  /// Blocks until the lock is ours. SystemError with EDEADLK: this thread owns it already. InvalidState: this thread
  /// owns 2048 locks.
  Acquired lock() const { return acquire(Deadline::never()); }
  Acquired acquire() const { return acquire(Deadline::never()); }

  /// The same until the deadline: then `timed_out`. A deadline that has passed tries once. This thread owns it already:
  /// `timed_out`, at the deadline, as for everybody else; without an end it is the error above.
  [[nodiscard]] Acquired acquire(Deadline deadline) const {
    const os::LockOutcome outcome = mutex_->try_lock();
    if (outcome == os::LockOutcome::clean) [[likely]]
      return Acquired::clean;
    return detail::finish_lock(*mutex_, outcome, deadline, "Lock");
  }
  template <class Rep, class Period>
  [[nodiscard]] Acquired try_lock_for(const std::chrono::duration<Rep, Period>& from_now) const {
    return acquire(Deadline(from_now));
  }
  template <class Clock, class Duration>
  [[nodiscard]] Acquired try_lock_until(const std::chrono::time_point<Clock, Duration>& at) const {
    return detail::wait_until_clock(at, [this](Deadline deadline) { return acquire(deadline); });
  }

  /// Takes it if it is free. Also `timed_out` when this thread owns it already: so std::lock() of two handles of one
  /// lock tries for ever.
  [[nodiscard]] Acquired try_lock() const {
    const os::LockOutcome outcome = mutex_->try_lock();
    if (outcome == os::LockOutcome::clean) [[likely]]
      return Acquired::clean;
    return detail::finish_try_lock(outcome, "Lock");
  }

  /// InvalidState: another thread owns it, or nobody.
  void unlock() const {
    if (!mutex_->unlock()) [[unlikely]]
      detail::throw_not_owner("Lock");
  }
  void release() const { unlock(); }

  /// Whether anybody owns it; whether the calling thread does. The first may be old news when it arrives.
  bool locked() const noexcept { return mutex_->is_held(); }
  bool is_mine() const noexcept { return mutex_->is_mine(); }

  /// Do both name the same lock?
  friend bool operator==(const Lock& a, const Lock& b) noexcept { return a.mutex_.get() == b.mutex_.get(); }

 private:
  friend struct Travel<Lock>;
  explicit Lock(detail::Shared<os::RobustMutex> mutex) noexcept : mutex_(std::move(mutex)) {}

  detail::Shared<os::RobustMutex> mutex_;
};

template <>
struct Travel<Lock> {
  template <class Encoder>
  static void encode(Encoder& to, const Lock& lock) {
    detail::send_place(to, lock.mutex_.place());
  }
  template <class Decoder>
  static Lock decode(Decoder& from) {
    return Lock(detail::Shared<os::RobustMutex>::at(detail::receive_place(from)));
  }
};

}  // namespace multiproc
