// SPDX-License-Identifier: MIT

#include <multiproc/sync/lock.hpp>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>
#include <multiproc/sync/parking.hpp>

namespace multiproc::detail {

Shared<os::RobustMutex> make_mutex() {
  auto mutex = Shared<os::RobustMutex>::make();
  (void)mutex->init().or_throw("a new lock");
  return mutex;
}

[[noreturn]] static void refuse(os::LockOutcome outcome, const char* name) {
  switch (outcome) {
    case os::LockOutcome::mine:
      os::throw_failure({"lock", EDEADLK}, std::string(name) + " that this thread owns already",
                        "It would wait for itself for ever. Where the owner must be able to take it again, use RLock.");
    case os::LockOutcome::too_many:
      throw InvalidState(std::string(name) + ": this thread holds " + std::to_string(os::RobustMutex::kMostHeld) +
                         " locks. The kernel would not hand on more of them if the thread died. Release some first, or "
                         "let one lock guard more.");
    default:
      throw InvalidState(std::string(name) +
                         ": there is no lock in its memory any more: somebody else's writing went astray.");
  }
}

// An owner that waits for itself, until the deadline.
static Acquired wait_in_vain(Deadline deadline) {
  const std::atomic<std::uint32_t> word{0};
  for (unsigned sleeps = 0; !deadline.passed(); ++sleeps) park(word, 0, deadline, sleeps);
  return Acquired::timed_out;
}

// No spinning before the sleep: with spinners the lock goes to another core at every turn, and what it guards with it.
Acquired finish_lock(os::RobustMutex& mutex, os::LockOutcome outcome, Deadline deadline, const char* name) {
  if (outcome == os::LockOutcome::busy) outcome = mutex.lock(deadline);
  switch (outcome) {
    case os::LockOutcome::clean: return Acquired::clean;
    case os::LockOutcome::owner_died: return Acquired::owner_died;
    case os::LockOutcome::busy: return Acquired::timed_out;
    case os::LockOutcome::mine:
      if (!deadline.is_never()) return wait_in_vain(deadline);
      [[fallthrough]];
    default: refuse(outcome, name);
  }
}

Acquired finish_try_lock(os::LockOutcome outcome, const char* name) {
  switch (outcome) {
    case os::LockOutcome::clean: return Acquired::clean;
    case os::LockOutcome::owner_died: return Acquired::owner_died;
    case os::LockOutcome::busy:
    case os::LockOutcome::mine: return Acquired::timed_out;
    default: refuse(outcome, name);
  }
}

void throw_not_owner(const char* name) {
  throw InvalidState(std::string(name) +
                     ": released by a thread that does not own it. Only the one that acquired it can; a forked child "
                     "does not own what its parent holds.");
}

}  // namespace multiproc::detail
