// SPDX-License-Identifier: MIT

#include <multiproc/os/robust_mutex.hpp>

#include <cerrno>
#include <chrono>
#include <ctime>

#include <linux/futex.h>
#include <pthread.h>
#include <unistd.h>

#include <multiproc/os/at_fork.hpp>

#include "os/fault.hpp"
#include "os/sanitizer.hpp"

namespace multiproc::os {

static_assert(std::is_trivially_destructible_v<RobustMutex>);

constinit thread_local unsigned robust_mutexes_held = 0;

namespace {

// A sleep without end would be one for ever where glibc's mutex loses a wake-up: a waiter is woken, somebody else takes
// the mutex first and does not know of the other sleepers, and the woken one is killed before it can say so.
constexpr std::chrono::milliseconds kLook{50};

constinit thread_local pid_t thread_id = 0;

[[maybe_unused]] const bool is_registered = at_fork(nullptr, nullptr, [] {
                                              if (robust_mutexes_held != 0) robust_mutexes_held = 0;
                                              if (thread_id != 0) thread_id = 0;
                                            }).ok();

}  // namespace

Result<> RobustMutex::init() noexcept {
  if (const int error = fault::injected("pthread_mutex_init")) return Failure{"pthread_mutex_init", error};
  pthread_mutexattr_t kind;
  ::pthread_mutexattr_init(&kind);
  ::pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_ERRORCHECK);
  const int error = ::pthread_mutex_init(&mutex_, &kind);
  ::pthread_mutexattr_destroy(&kind);
  if (error != 0) return Failure{"pthread_mutex_init", error};
  return {};
}

LockOutcome RobustMutex::outcome_of(int error) noexcept {
  switch (error) {
    case EOWNERDEAD:
      // What it guards is the caller's to mend, who hears of it. The mutex itself has nothing to be mended.
      if (::pthread_mutex_consistent(&mutex_) != 0) return LockOutcome::unusable;
      ++robust_mutexes_held;
      return LockOutcome::owner_died;
    case EBUSY:
    case ETIMEDOUT: return LockOutcome::busy;
    case EDEADLK: return LockOutcome::mine;
    default: return LockOutcome::unusable;
  }
}

// ThreadSanitizer does not know pthread_mutex_clocklock (before LLVM 17), nor that a timed call may take a mutex over
// from the dead: it would report each unlock. Of pthread_mutex_trylock it knows all.
static int lock_until(pthread_mutex_t* mutex, Deadline deadline) noexcept {
  if constexpr (kThreadSanitizer) {
    for (;;) {
      const int error = ::pthread_mutex_trylock(mutex);
      if (error != EBUSY || deadline.passed()) return error;
      constexpr std::timespec kMoment{0, 200'000};
      ::clock_nanosleep(CLOCK_MONOTONIC, 0, &kMoment, nullptr);
    }
  }
  const auto until = deadline.as_monotonic().value_or(std::timespec{});  // never without an end: see kLook
  return ::pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &until);
}

LockOutcome RobustMutex::lock(Deadline deadline) noexcept {
  if (robust_mutexes_held >= kMostHeld || deadline.passed()) return try_lock();
  for (;;) {
    const int error = lock_until(&mutex_, Deadline::earlier(deadline, kLook));
    if (error == 0) {
      ++robust_mutexes_held;
      return LockOutcome::clean;
    }
    const LockOutcome outcome = outcome_of(error);
    if (outcome != LockOutcome::busy || deadline.passed()) return outcome;
  }
}

// The word that the kernel looks at when a thread ends: owner, FUTEX_WAITERS, FUTEX_OWNER_DIED.
unsigned RobustMutex::owner() const noexcept {
  return static_cast<unsigned>(__atomic_load_n(&mutex_.__data.__lock, __ATOMIC_RELAXED)) & FUTEX_TID_MASK;
}

bool RobustMutex::is_held() const noexcept {
  return owner() != 0;
}

bool RobustMutex::is_mine() const noexcept {
  if (thread_id == 0) thread_id = ::gettid();
  return owner() == static_cast<unsigned>(thread_id);
}

}  // namespace multiproc::os
