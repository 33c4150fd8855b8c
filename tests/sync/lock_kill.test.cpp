// SPDX-License-Identifier: MIT
//
// Lock and RLock, killed after each instruction: the others have it next, and are told when what it guards may be half
// done.

#include <multiproc/sync/lock.hpp>

#include <atomic>
#include <chrono>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/shm/segment.hpp>
#include <multiproc/sync/rlock.hpp>

#include "support/kill_step.hpp"
#include "support/watchdog.hpp"
#include "sync/own_memory.hpp"
#include "sync/waker.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Acquired;
using multiproc::Lock;
using multiproc::RLock;
using support::Findings;
using support::KillStage;
using support::KillStep;
using sync_test::Place;

// Two words that are equal whenever nobody has the lock.
struct Notes {
  volatile int first = 0;
  volatile int second = 0;
  std::atomic<int> done_by_the_living{0};
  sync_test::WakerNotes waker;
};

Lock make(const Place& at, const Lock*) {
  auto* const mutex = new (at.address()) multiproc::os::RobustMutex;
  (void)mutex->init().or_throw("a lock of a test");
  return sync_test::handle_at<Lock>(at);
}
RLock make(const Place& at, const RLock*) {
  auto* const state = new (at.address()) multiproc::detail::RLockState;
  (void)state->mutex.init().or_throw("a lock of a test");
  return sync_test::handle_at<RLock>(at);
}

template <class L>
struct State {
  State() : place(sync_test::own_memory()), lock(make(place, static_cast<const L*>(nullptr))) {
    sync_test::make_notes<Notes>(place);
  }
  Notes& notes() const { return sync_test::notes_in<Notes>(place); }

  Acquired take(multiproc::Deadline deadline = multiproc::Deadline::never()) const {
    const Acquired acquired = lock.acquire(deadline);
    if (acquired == Acquired::owner_died) notes().second = notes().first;  // what the dead owner had begun
    return acquired;
  }
  void increment() const {
    notes().first = notes().first + 1;
    notes().second = notes().second + 1;
  }
  void use() const {
    (void)take();
    increment();
    lock.release();
  }
  void use_as_partner() const {
    use();
    ++notes().done_by_the_living;
  }

  Place place;
  L lock;
};

template <class L>
void check(State<L>& state, Findings& found) {
  if (!state.take(support::scaled(4s))) return found.lost("the lock");
  const int extra = state.notes().first - state.notes().done_by_the_living;
  if (state.notes().first != state.notes().second)
    found.corrupt("an owner died between the words, and nobody was told");
  if (extra < 0) found.lost("what a partner did under the lock");
  if (extra > 1) found.corrupt("two were inside at once");
  state.lock.release();
  if (state.lock.locked()) found.corrupt("released, and still locked");
  if (state.take() != Acquired::clean) found.corrupt("a death was told twice");
  state.lock.release();
}

template <class L>
KillStep<State<L>> steps(std::string name) {
  return {.name = std::move(name),
          .setup = [] { return State<L>{}; },
          .prepare = [](State<L>& state) { state.notes().waker.victim = ::getpid(); },
          .operation = {},
          .check = check<L>,
          .budget = 1s};
}

template <class L>
KillStage<State<L>> comes_after() {
  return {.name = "partner comes after", .after = [](State<L>& state) { state.use_as_partner(); }};
}
template <class L>
KillStage<State<L>> waits() {
  return {.name = "partner waits for it", .blocked = [](State<L>& state) { state.use_as_partner(); }};
}
// Until the victim sleeps, or is dead.
template <class L>
KillStage<State<L>> holds() {
  return {.name = "partner holds it",
          .before =
              [](State<L>& state) {
                sync_test::Waker::start(
                    state.notes().waker, [state] { (void)state.take(); },
                    [state] {
                      state.lock.release();
                      return false;
                    });
              },
          .after = [](State<L>& state) { sync_test::Waker::end(state.notes().waker); }};
}
template <class L>
KillStage<State<L>> holds_and_another_waits() {
  auto stage = holds<L>();
  stage.name = "partner holds it, another waits";
  stage.blocked = [](State<L>& state) { state.use_as_partner(); };
  return stage;
}

TEST(LockKillTest, Lock) {
  auto lock = steps<Lock>("Lock::lock");
  lock.operation = [](State<Lock>& state) { (void)state.lock.lock(); };
  lock.stages = {comes_after<Lock>(), holds<Lock>(), holds_and_another_waits<Lock>()};
  lock.run();
}

TEST(LockKillTest, LockUseUnlock) {
  auto use = steps<Lock>("Lock::lock, use, unlock");
  use.operation = [](State<Lock>& state) { state.use(); };
  use.stages = {comes_after<Lock>(), holds<Lock>(), holds_and_another_waits<Lock>()};
  use.run();
}

TEST(LockKillTest, Unlock) {
  auto unlock = steps<Lock>("Lock::unlock");
  unlock.prepare = [](State<Lock>& state) {
    (void)state.lock.lock();
    state.increment();
  };
  unlock.operation = [](State<Lock>& state) { state.lock.unlock(); };
  unlock.stages = {comes_after<Lock>(), waits<Lock>()};
  unlock.run();
}

TEST(LockKillTest, AcquireWithADeadline) {
  auto acquire = steps<Lock>("Lock::acquire(deadline)");
  acquire.operation = [](State<Lock>& state) { (void)state.lock.acquire(15ms); };
  auto held = holds<Lock>();
  held.name = "partner holds it to the end";
  held.before = [](State<Lock>& state) { (void)state.take(); };
  held.after = [](State<Lock>& state) { state.lock.release(); };
  acquire.stages = {comes_after<Lock>(), holds<Lock>(), held};
  acquire.run();
}

TEST(LockKillTest, TryLock) {
  auto attempt = steps<Lock>("Lock::try_lock");
  attempt.operation = [](State<Lock>& state) { (void)state.lock.try_lock(); };
  attempt.stages = {comes_after<Lock>(), holds<Lock>()};
  attempt.run();
}

// The one before died with it: taken over, and the new owner dies as well.
TEST(LockKillTest, LockFromTheDead) {
  auto heir = steps<Lock>("Lock::lock from the dead");
  heir.setup = [] {
    State<Lock> state;
    std::thread([&] { (void)state.lock.lock(); }).join();
    return state;
  };
  heir.operation = [](State<Lock>& state) { state.use(); };
  heir.stages = {comes_after<Lock>()};
  heir.run();
}

TEST(RLockKillTest, Lock) {
  auto lock = steps<RLock>("RLock::lock");
  lock.operation = [](State<RLock>& state) { (void)state.lock.lock(); };
  lock.stages = {comes_after<RLock>(), holds<RLock>(), holds_and_another_waits<RLock>()};
  lock.run();
}

// The one before died with it, taken twice.
TEST(RLockKillTest, LockFromTheDead) {
  auto heir = steps<RLock>("RLock::lock from the dead");
  heir.setup = [] {
    State<RLock> state;
    std::thread([&] {
      (void)state.lock.lock();
      (void)state.lock.lock();
    }).join();
    return state;
  };
  heir.operation = [](State<RLock>& state) { state.use(); };
  heir.stages = {comes_after<RLock>()};
  heir.run();
}

TEST(RLockKillTest, LockAgainAndUnlock) {
  auto again = steps<RLock>("RLock::lock again, unlock");
  again.prepare = [](State<RLock>& state) { (void)state.lock.lock(); };
  again.operation = [](State<RLock>& state) {
    (void)state.lock.lock();
    state.increment();
    state.lock.unlock();
  };
  again.stages = {comes_after<RLock>(), waits<RLock>()};
  again.run();
}

TEST(RLockKillTest, Unlock) {
  auto unlock = steps<RLock>("RLock::unlock");
  unlock.prepare = [](State<RLock>& state) {
    (void)state.lock.lock();
    state.increment();
  };
  unlock.operation = [](State<RLock>& state) { state.lock.unlock(); };
  unlock.stages = {comes_after<RLock>(), waits<RLock>()};
  unlock.run();
}

}  // namespace
