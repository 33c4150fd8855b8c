// SPDX-License-Identifier: MIT
//
// Condition, killed after each instruction: the dead cost no wake-up, and nobody gets one that was not meant for it.

#include <multiproc/sync/condition.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/shm/segment.hpp>

#include "support/kill_step.hpp"
#include "sync/own_memory.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Acquired;
using multiproc::Condition;
using multiproc::Lock;
using multiproc::detail::ConditionState;
using support::Findings;
using support::KillStage;
using support::KillStep;
using sync_test::Place;

struct Notes {
  std::atomic<bool> unblocked{false};    // the partner has notified twice
  std::atomic<bool> victim_done{false};  // its wait() came back
  std::atomic<int> waits{0};             // that were begun by those who are no victims
};

// The condition, its lock and the notes, in memory of their own.
struct State {
  static constexpr std::size_t kLockAt = 16384;
  static constexpr std::size_t kNotesAt = kLockAt + 64;

  State() : place(sync_test::own_memory(kNotesAt + sizeof(Notes))), condition(make(place)) {}

  struct Reader {
    const Place& place;

    multiproc::os::Fd take_fd() const { return place.segment->descriptor(); }
    template <class T>
    T read() const {
      if constexpr (std::is_same_v<T, Lock>) {
        return sync_test::handle_at<Lock>({place.segment, kLockAt});
      } else if constexpr (std::is_integral_v<T>) {
        return static_cast<T>(place.offset);  // and 0: on a Lock
      } else {
        throw std::logic_error{"not a Lock"};
      }
    }
  };
  static Condition make(const Place& at) {
    new (at.address()) ConditionState;
    auto* const mutex = new (at.segment->begin() + kLockAt) multiproc::os::RobustMutex;
    (void)mutex->init().or_throw("a lock");
    new (at.segment->begin() + kNotesAt) Notes{};
    Reader reader{at};
    return multiproc::Travel<Condition>::decode(reader);
  }

  Notes& notes() const { return *std::launder(reinterpret_cast<Notes*>(place.segment->begin() + kNotesAt)); }
  ConditionState& inside() const { return *std::launder(reinterpret_cast<ConditionState*>(place.address())); }
  // With the lock held.
  bool somebody_waits() const {
    for (const auto& slot : inside().slots) {
      if (slot.is_waiting() && slot.alive.is_held()) return true;
    }
    return false;
  }

  Place place;
  Condition condition;
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

KillStep<State> steps(const std::string& name) {
  KillStep<State> made;
  made.name = "Condition::" + name;
  made.setup = [] { return State{}; };
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

TEST(ConditionKillTest, Wait) {
  auto wait = steps("wait");
  wait.warm_up = wait_shortly;
  wait.operation = [](State& state) {
    const std::scoped_lock held(state.condition);
    (void)state.condition.wait();
    state.notes().victim_done = true;
  };
  wait.stages = {{.name = "partner notifies", .unblock = notify}, kPartnerIsNext};
  wait.run();
}

TEST(ConditionKillTest, WaitWithADeadline) {
  auto wait = steps("wait(deadline)");
  wait.operation = wait_shortly;
  wait.stages = {{.name = "alone"}, {.name = "partner waits too", .blocked = partner_waits, .after = notify}};
  wait.run();
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
