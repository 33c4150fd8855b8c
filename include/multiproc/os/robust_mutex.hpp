// SPDX-License-Identifier: MIT
//
// multiproc/os/robust_mutex.hpp: the one pthread mutex that survives its owner: robust, shared between processes,
// error-checking.
//
// It lies in shared memory and belongs to a thread. The thread that locked it, and no other, unlocks it. Waits are on
// the monotonic clock.
//
// Death       The kernel takes the mutex from a thread that ends, by any end, and hands it on; the next owner is told,
//             once. (It walks a list that the thread keeps: FUTEX_OWNER_DIED in get_robust_list(2).)
// Limits      Of one thread's mutexes the kernel looks at 2048 (ROBUST_LIST_LIMIT); more are refused here, for they
//             would be forgotten. Memory that is unmapped while a mutex in it is held is forgotten too. Owners are
//             thread ids: all processes must be in one pid namespace.
// Fork        The child owns nothing: what the forking thread holds stays the parent's.
#pragma once

#include <mutex>  // names the C library's mutex and its functions
#include <type_traits>

#include <multiproc/deadline.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc::os {

enum class LockOutcome {
  clean,       // locked
  owner_died,  // locked, and the owner before us ended while it held the mutex
  busy,        // another thread has it (still, when the deadline passed)
  mine,        // the calling thread has it already
  too_many,    // the calling thread holds kMostHeld others
  unusable,    // there is no mutex at this place
};

/// How many robust mutexes the calling thread holds.
extern constinit thread_local unsigned robust_mutexes_held;

class RobustMutex {
 public:
  static constexpr unsigned kMostHeld = 2048;

  /// Makes it, once, in zeroed memory, before anybody else sees it.
  Result<> init() noexcept;

  LockOutcome try_lock() noexcept {
    if (robust_mutexes_held >= kMostHeld) [[unlikely]]
      return is_mine() ? LockOutcome::mine : LockOutcome::too_many;
    const int error = ::pthread_mutex_trylock(&mutex_);
    if (error != 0) [[unlikely]]
      return outcome_of(error);
    ++robust_mutexes_held;
    return LockOutcome::clean;
  }

  /// Blocks; for those whom try_lock() told that it is busy, since it looks at the clock first. Wakes every now and
  /// then to look for itself: a waiter that is killed just after it was woken takes a wake-up with it.
  LockOutcome lock(Deadline deadline) noexcept;

  /// False: the calling thread does not own it.
  bool unlock() noexcept {
    if (::pthread_mutex_unlock(&mutex_) != 0) [[unlikely]]
      return false;
    --robust_mutexes_held;
    return true;
  }

  /// Whether any thread owns it, and whether the calling one does. No system call.
  bool is_held() const noexcept;
  bool is_mine() const noexcept;

 private:
  LockOutcome outcome_of(int error) noexcept;
  unsigned owner() const noexcept;

  std::remove_pointer_t<std::mutex::native_handle_type> mutex_;  // pthread_mutex_t; zero is not yet a mutex
};

}  // namespace multiproc::os
