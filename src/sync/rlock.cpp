// SPDX-License-Identifier: MIT

#include <multiproc/sync/rlock.hpp>

#include <limits>

#include <multiproc/error.hpp>

namespace multiproc::detail {

Shared<RLockState> make_rlock() {
  auto state = Shared<RLockState>::make();
  (void)state->mutex.init().or_throw("a new lock");
  return state;
}

Acquired finish_rlock(RLockState& state, os::LockOutcome outcome, Deadline deadline) {
  if (outcome == os::LockOutcome::mine) {
    if (state.depth == std::numeric_limits<std::uint32_t>::max()) {
      throw InvalidState("RLock: taken 4294967295 times by its owner, who never gives it back");
    }
    ++state.depth;
    return Acquired::clean;
  }
  const Acquired acquired = finish_lock(state.mutex, outcome, deadline, "RLock");
  if (acquired != Acquired::timed_out) state.depth = 1;
  return acquired;
}

}  // namespace multiproc::detail
