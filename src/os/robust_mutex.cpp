// SPDX-License-Identifier: MIT

#include <multiproc/os/robust_mutex.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <new>

#include <linux/futex.h>
#include <pthread.h>
#include <unistd.h>

#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/memory.hpp>

#include "os/fault.hpp"
#include "os/sanitizer.hpp"

namespace multiproc::os {

static_assert(std::is_trivially_destructible_v<RobustMutex>);

constinit thread_local unsigned robust_mutexes_held = 0;

namespace {

// A sleep without end would be one for ever where glibc's mutex loses a wake-up: a waiter is woken, somebody else takes
// the mutex first and does not know of the other sleepers, and the woken one is killed before it can say so.
constexpr std::chrono::milliseconds kLook{50};
// Who has waited for a second or so looks less often.
constexpr std::chrono::milliseconds kSeldomLook{200};
constexpr unsigned kManyLooks = 20;

[[maybe_unused]] const bool is_registered = at_fork(nullptr, nullptr, [] {
                                              if (robust_mutexes_held != 0) robust_mutexes_held = 0;
                                            }).ok();

// Thread ids are kept, for a system call at each question would cost too much, and must be forgotten in every child:
// also of _Fork(3) and of a raw clone(2), which run no handlers. So there is a word that the kernel wipes there. It
// holds the number of this process among its forefathers, and each thread the number for which it knows its id.
constinit std::atomic<std::atomic<std::uint32_t>*> process_word{nullptr};
constinit std::atomic<std::uint32_t> last_process{0};
constinit thread_local std::uint32_t process_of_id = 0;
constinit thread_local pid_t thread_id = 0;

// Nothing: the kernel has no such memory to give.
std::atomic<std::uint32_t>* wiped_word() noexcept {
  std::atomic<std::uint32_t>* known = process_word.load(std::memory_order_acquire);
  if (known != nullptr) return known;
  Result<Mapping> page = map_left_out_of_forks(sizeof *known);
  if (!page) return nullptr;
  auto* const made = new (page.value().bytes().data()) std::atomic<std::uint32_t>(0);
  if (!process_word.compare_exchange_strong(known, made, std::memory_order_acq_rel)) return known;
  (void)page.value().release();  // for the life of the process
  return made;
}

pid_t ask_for_thread_id() noexcept {
  thread_id = ::gettid();
  std::atomic<std::uint32_t>* const word = wiped_word();
  if (word == nullptr) {
    process_of_id = 0;
    return thread_id;
  }
  std::uint32_t process = word->load(std::memory_order_relaxed);
  if (process == 0) {
    const std::uint32_t mine = last_process.fetch_add(1, std::memory_order_relaxed) + 1;
    process = word->compare_exchange_strong(process, mine, std::memory_order_relaxed) ? mine : process;
  }
  process_of_id = process;
  return thread_id;
}

pid_t own_thread_id() noexcept {
  const std::atomic<std::uint32_t>* const word = process_word.load(std::memory_order_acquire);
  if (word != nullptr && process_of_id != 0 && word->load(std::memory_order_relaxed) == process_of_id) [[likely]]
    return thread_id;
  return ask_for_thread_id();
}

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
  for (unsigned looks = 0;; ++looks) {
    const int error = lock_until(&mutex_, Deadline::earlier(deadline, looks < kManyLooks ? kLook : kSeldomLook));
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
  return owner() == static_cast<unsigned>(own_thread_id());
}

}  // namespace multiproc::os
