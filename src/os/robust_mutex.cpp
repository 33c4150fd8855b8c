// SPDX-License-Identifier: MIT

#include <multiproc/os/robust_mutex.hpp>

#include <cerrno>
#include <chrono>

#include <linux/futex.h>
#include <pthread.h>
#include <unistd.h>

#include <multiproc/os/at_fork.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

static_assert(sizeof(RobustMutex) == sizeof(pthread_mutex_t) && alignof(RobustMutex) >= alignof(pthread_mutex_t));

namespace {

// A sleep without end would be one for ever where glibc's mutex loses a wake-up: a waiter is woken, somebody else takes
// the mutex first and does not know of the other sleepers, and the woken one is killed before it can say so.
constexpr std::chrono::milliseconds kLook{50};

constinit thread_local unsigned held = 0;
constinit thread_local pid_t thread_id = 0;

[[maybe_unused]] const bool is_registered = at_fork(nullptr, nullptr, [] {
                                              if (held != 0) held = 0;
                                              if (thread_id != 0) thread_id = 0;
                                            }).ok();

pthread_mutex_t* mutex_at(std::byte* storage) noexcept {
  return reinterpret_cast<pthread_mutex_t*>(storage);
}

// The word that the kernel looks at when a thread ends: owner, FUTEX_WAITERS, FUTEX_OWNER_DIED.
unsigned owner_of(const std::byte* storage) noexcept {
  const auto* mutex = reinterpret_cast<const pthread_mutex_t*>(storage);
  return static_cast<unsigned>(__atomic_load_n(&mutex->__data.__lock, __ATOMIC_RELAXED)) & FUTEX_TID_MASK;
}

LockOutcome outcome_of(int error, pthread_mutex_t* mutex) noexcept {
  switch (error) {
    case EOWNERDEAD:
      // What it guards is the caller's to mend, who hears of it. The mutex itself has nothing to be mended.
      if (::pthread_mutex_consistent(mutex) != 0) return LockOutcome::unusable;
      ++held;
      return LockOutcome::owner_died;
    case EBUSY:
    case ETIMEDOUT: return LockOutcome::busy;
    case EDEADLK: return LockOutcome::mine;
    default: return LockOutcome::unusable;
  }
}

}  // namespace

Result<> RobustMutex::init() noexcept {
  if (const int error = fault::injected("pthread_mutex_init")) return Failure{"pthread_mutex_init", error};
  pthread_mutexattr_t kind;
  ::pthread_mutexattr_init(&kind);
  ::pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
  const int error = ::pthread_mutex_init(mutex_at(storage_), &kind);
  ::pthread_mutexattr_destroy(&kind);
  if (error != 0) return Failure{"pthread_mutex_init", error};
  return {};
}

LockOutcome RobustMutex::try_lock() noexcept {
  if (held >= kMostHeld) [[unlikely]]
    return is_mine() ? LockOutcome::mine : LockOutcome::too_many;
  const int error = ::pthread_mutex_trylock(mutex_at(storage_));
  if (error != 0) [[unlikely]]
    return outcome_of(error, mutex_at(storage_));
  ++held;
  return LockOutcome::clean;
}

LockOutcome RobustMutex::lock(Deadline deadline) noexcept {
  if (held >= kMostHeld || deadline.passed()) return try_lock();
  for (;;) {
    const auto until = Deadline::earlier(deadline, kLook).as_monotonic();
    const int error = ::pthread_mutex_clocklock(mutex_at(storage_), CLOCK_MONOTONIC, &*until);
    if (error == 0) {
      ++held;
      return LockOutcome::clean;
    }
    const LockOutcome outcome = outcome_of(error, mutex_at(storage_));
    if (outcome != LockOutcome::busy || deadline.passed()) return outcome;
  }
}

bool RobustMutex::unlock() noexcept {
  if (::pthread_mutex_unlock(mutex_at(storage_)) != 0) return false;
  --held;
  return true;
}

bool RobustMutex::is_held() const noexcept {
  return owner_of(storage_) != 0;
}

bool RobustMutex::is_mine() const noexcept {
  if (thread_id == 0) thread_id = ::gettid();
  return owner_of(storage_) == static_cast<unsigned>(thread_id);
}

}  // namespace multiproc::os
