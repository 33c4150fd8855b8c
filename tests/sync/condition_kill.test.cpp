// SPDX-License-Identifier: MIT
//
// Condition, killed after each instruction: the dead cost no wake-up, and nobody gets one that was not meant for it.

#include <multiproc/sync/condition.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <type_traits>

#include <gtest/gtest.h>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/shm/segment.hpp>

#include "support/kill_step.hpp"
#include "sync/own_memory.hpp"

namespace {

using namespace std::chrono_literals;
namespace os = multiproc::os;
using multiproc::Acquired;
using multiproc::Condition;
using multiproc::Lock;
using multiproc::RLock;
using multiproc::detail::ConditionSlot;
using multiproc::detail::ConditionState;
using multiproc::detail::RLockState;
using support::Findings;
using support::KillStage;
using support::KillStep;
using sync_test::Place;

struct Notes {
  std::atomic<bool> unblocked{false};    // the partner has notified twice
  std::atomic<bool> victim_done{false};  // its wait() came back
  std::atomic<int> waits{0};             // that were begun by those who are no victims
};

enum class On { lock, rlock };

// The condition in its own memory, and the lock and the notes in some that goes with them.
struct State {
  static constexpr std::size_t kNotesAt = 2048;

  explicit State(On kind = On::lock)
      : home(multiproc::detail::make_condition()), place(sync_test::own_memory()), condition(make(home, place, kind)) {}

  struct Reader {
    const Place& home;
    const Place& lock;
    On kind;

    os::Fd take_fd() const { return home.segment->descriptor(); }
    template <class T>
    T read() const {
      if constexpr (std::is_same_v<T, Lock> || std::is_same_v<T, RLock>) {
        return sync_test::handle_at<T>(lock);
      } else if constexpr (std::is_same_v<T, std::uint8_t>) {
        return kind == On::rlock ? 1 : 0;
      } else {
        return static_cast<T>(home.offset);
      }
    }
  };
  static Condition make(const Place& home, const Place& at, On kind) {
    static_assert(sizeof(RLockState) <= kNotesAt);
    os::RobustMutex* const mutex =
        kind == On::rlock ? &(new (at.address()) RLockState)->mutex : new (at.address()) os::RobustMutex;
    (void)mutex->init().or_throw("a lock");
    sync_test::make_notes<Notes>(at);
    Reader reader{home, at, kind};
    return multiproc::Travel<Condition>::decode(reader);
  }

  Notes& notes() const { return sync_test::notes_in<Notes>(place); }
  ConditionState& inside() const { return *multiproc::detail::condition_at(home); }
  // With the lock held.
  bool somebody_waits() const {
    for (std::uint32_t i = 0; i < inside().used; ++i) {
      if (inside()[i].is_waiting() && inside()[i].alive.is_held()) return true;
    }
    return false;
  }

  Place home;
  Place place;
  Condition condition;
  ConditionSlot* entered = nullptr;  // where this process waits, or will
};

void notify(State& state) {
  const std::scoped_lock held(state.condition);
  state.condition.notify();
}

void partner_waits(State& state) {
  const std::scoped_lock held(state.condition);
  ++state.notes().waits;
  (void)state.condition.wait();
}

// Once somebody owns the lock after that, they wait.
void until_waits(State& state, int count) {
  while (state.notes().waits < count) std::this_thread::yield();
  const std::scoped_lock held(state.condition);
}

void check(State& state, Findings& found) {
  const int before = state.notes().waits;
  std::thread thread([&] { partner_waits(state); });
  until_waits(state, before + 1);
  notify(state);
  thread.join();

  const std::scoped_lock held(state.condition);
  if (state.condition.wait(1ms)) found.corrupt("a wake-up for nobody");
  state.condition.notify_all();
  if (state.inside().used != 0) found.leaked("the place of one who waits no more");
}

KillStep<State> steps(const std::string& name, On kind = On::lock) {
  KillStep<State> made;
  made.name = "Condition::" + name;
  made.setup = [kind] { return State{kind}; };
  made.check = check;
  return made;
}

void wait_shortly(State& state) {
  const std::scoped_lock held(state.condition);
  (void)state.condition.wait(2ms);
}

// The partner waits twice: the first time it is the one that has waited for longest, the second time the victim is, and
// what the victim was given is the partner's if the victim dies before its lock is back.
const KillStage<State> kPartnerIsNext{
    .name = "partner is next",
    .blocked =
        [](State& state) {
          partner_waits(state);
          partner_waits(state);
        },
    .unblock =
        [](State& state) {
          notify(state);
          until_waits(state, 2);
          state.notes().unblocked = true;
          notify(state);
        },
    .after =
        [](State& state) {
          const bool unblocked = state.notes().unblocked;
          if (!unblocked) {
            notify(state);
            until_waits(state, 2);
          }
          const Acquired acquired = state.condition.lock();
          if (!unblocked || acquired == Acquired::owner_died || state.notes().victim_done) state.condition.notify();
          state.condition.unlock();
        }};

void wait_until_notified(State& state) {
  const std::scoped_lock held(state.condition);
  (void)state.condition.wait();
  state.notes().victim_done = true;
}

TEST(ConditionKillTest, Wait) {
  auto wait = steps("wait");
  wait.warm_up = wait_shortly;
  wait.operation = wait_until_notified;
  wait.stages = {{.name = "partner notifies", .unblock = notify}, kPartnerIsNext};
  wait.budget = 4s;
  wait.run();
}

TEST(ConditionKillTest, WaitOnAnRLock) {
  auto wait = steps("wait (RLock)", On::rlock);
  wait.warm_up = wait_shortly;
  wait.operation = wait_until_notified;
  wait.stages = {{.name = "partner notifies", .unblock = notify}, kPartnerIsNext};
  wait.budget = 4s;
  wait.run();
}

// Had three times.
TEST(ConditionKillTest, WaitOnAnRLockWithADeadline) {
  auto wait = steps("wait(deadline) (RLock)", On::rlock);
  wait.operation = [](State& state) {
    const std::scoped_lock first(state.condition);
    const std::scoped_lock second(state.condition);
    wait_shortly(state);
  };
  wait.stages = {{.name = "alone"}, {.name = "partner waits too", .blocked = partner_waits, .after = notify}};
  wait.run();
}

TEST(ConditionKillTest, WaitWithADeadline) {
  auto wait = steps("wait(deadline)");
  wait.operation = wait_shortly;
  wait.stages = {{.name = "alone"}, {.name = "partner waits too", .blocked = partner_waits, .after = notify}};
  wait.run();
}

// A wake-up that a dead one left, and two who may have it: the victim, which looks when its deadline has passed, and
// the partner, which looks when the victim is dead. One of them gets it, and not both.
TEST(ConditionKillTest, TakeOver) {
  auto heir = steps("wait, taking over");
  const auto enter = [](State& state) {
    const std::scoped_lock held(state.condition);
    state.entered = &state.inside().enter(state.home);
  };
  // As if it was notified when the next three were there.
  const auto leave_a_wake_up = [enter](State& state) {
    std::thread([&] {
      enter(state);
      state.entered->limit = state.inside().next + 3;
      state.entered->word = ConditionSlot::kNotified;
    }).join();
  };
  heir.operation = [](State& state) {
    const std::scoped_lock held(state.condition);
    state.notes().victim_done = state.condition.wait(1ms);
  };
  heir.warm_up = [=](State& state) {
    leave_a_wake_up(state);
    const std::scoped_lock held(state.condition);
    EXPECT_TRUE(state.condition.wait(1ms));
  };
  heir.stages = {{.name = "another heir", .before = [=](State& state) {
                    leave_a_wake_up(state);
                    enter(state);
                  }}};
  heir.check = [](State& state, Findings& found) {
    const bool died_with_the_lock = state.condition.lock() == Acquired::owner_died;
    std::uint32_t left = 0;
    for (std::uint32_t i = 0; i < state.inside().used; ++i) {
      const ConditionSlot& slot = state.inside()[i];
      if (slot.state() == ConditionSlot::kNotified && !slot.alive.is_held()) ++left;
    }
    state.condition.unlock();
    // Between the moment when it is back and the one when it says so, the victim has the lock.
    if (left == 0 && !state.notes().victim_done && !died_with_the_lock) found.lost("the wake-up of the dead");
    if (left > 1 || (left == 1 && state.notes().victim_done)) found.corrupt("a wake-up more than there was");

    const bool notified = state.inside().wait(state.entered, 1ms);  // whose last act is to look
    if (notified != (left == 1)) found.lost("what the victim left is not the partner's");
    state.entered->word = ConditionSlot::kFree;
    (void)state.entered->alive.unlock();
    check(state, found);
  };
  heir.budget = 4s;
  heir.run();
}

// Comes back by itself where the victim's notification reached it.
const KillStage<State> kPartnerWaits{.name = "partner waits", .blocked = partner_waits, .after = [](State& state) {
                                       const std::scoped_lock held(state.condition);
                                       if (state.somebody_waits()) state.condition.notify();
                                     }};
const KillStage<State> kTwoWait{.name = "two wait",
                                .blocked =
                                    [](State& state) {
                                      std::thread thread([&] { partner_waits(state); });
                                      until_waits(state, 1);
                                      partner_waits(state);
                                      thread.join();
                                    },
                                .after =
                                    [](State& state) {
                                      const std::scoped_lock held(state.condition);
                                      while (state.somebody_waits()) state.condition.notify();
                                    }};

TEST(ConditionKillTest, Notify) {
  auto steps_of = steps("notify");
  steps_of.operation = notify;
  steps_of.stages = {{.name = "alone"}, kPartnerWaits, kTwoWait};
  steps_of.run();
}

TEST(ConditionKillTest, NotifyAll) {
  auto all = steps("notify_all");
  all.operation = [](State& state) {
    const std::scoped_lock held(state.condition);
    state.condition.notify_all();
  };
  all.stages = {kPartnerWaits, kTwoWait};
  all.run();
}

}  // namespace
