// SPDX-License-Identifier: MIT
//
// BoundedSemaphore, killed after each instruction: free permits and those of the living are the bound.

#include <multiproc/sync/bounded_semaphore.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <new>
#include <string>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/shm/segment.hpp>

#include "support/kill_step.hpp"
#include "support/watchdog.hpp"
#include "sync/own_memory.hpp"
#include "sync/waker.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::BoundedSemaphore;
using multiproc::detail::PermitTable;
using support::Findings;
using support::KillAt;
using support::KillStage;
using support::KillStep;
using sync_test::Place;

constexpr int kBound = 3;

struct Notes {
  std::atomic<int> held_by_the_living{0};
  sync_test::WakerNotes waker;
};

struct State {
  explicit State(std::uint32_t bound = kBound) : place(sync_test::own_memory()), permits(make(place, bound)) {}

  static BoundedSemaphore make(const Place& at, std::uint32_t bound) {
    (void)PermitTable::make_at(at, bound, bound);
    sync_test::make_notes<Notes>(at);
    return sync_test::handle_at<BoundedSemaphore>(at);
  }
  Notes& notes() const { return sync_test::notes_in<Notes>(place); }

  // Of a partner.
  void take(std::ptrdiff_t count = 1) const {
    for (std::ptrdiff_t i = 0; i < count; ++i) {
      permits.acquire();
      ++notes().held_by_the_living;
    }
  }
  void give(std::ptrdiff_t count = 1) const {
    notes().held_by_the_living -= static_cast<int>(count);
    permits.release(count);
  }

  Place place;
  BoundedSemaphore permits;
};

// The victim is dead: what it held is free. The blocked partner is dead too, and notes only what it gave back.
void census(State& state, Findings& found) {
  const auto bound = state.permits.bound();
  const auto free = state.permits.value();
  const std::ptrdiff_t held = state.notes().held_by_the_living;
  const std::string sum = std::to_string(free) + " free, " + std::to_string(held) + " held by the living";
  if (free + held < bound) found.leaked(sum);
  if (free + held > bound) found.corrupt(sum);
  for (std::ptrdiff_t i = 0; i < free; ++i) {
    if (!state.permits.try_acquire()) return found.lost("a permit that value() had counted");
  }
  if (state.permits.try_acquire()) found.corrupt("more permits than value() had counted");
  if (free > 0) state.permits.release(free);
  if (state.permits.value() != free) found.corrupt("what was released is not free");
}

KillStep<State> steps(std::string name) {
  return {.name = "BoundedSemaphore::" + std::move(name),
          .setup = [] { return State{}; },
          .operation = {},
          .check = census,
          .budget = 1s};
}

const KillStage<State> kAfter{.name = "partner comes after", .after = [](State& state) {
                                state.take();
                                state.give();
                              }};
const KillStage<State> kBefore{.name = "partner holds one", .before = [](State& state) { state.take(); }};

// All permits are the partner's until the victim sleeps, or is dead, or what else is given is the case; then it gives
// one after the other.
KillStage<State> holding_all(std::string name, std::function<bool(const State&)> something_else = {}) {
  return {.name = std::move(name),
          .before =
              [something_else](State& state) {
                sync_test::Waker::start(
                    state.notes().waker, [state] { state.take(kBound); },
                    [state] {
                      state.give();
                      return state.notes().held_by_the_living != 0;
                    },
                    something_else ? [=] { return something_else(state); } : std::function<bool()>{});
              },
          .after = [](State& state) { sync_test::Waker::end(state.notes().waker); }};
}

void take_and_give(State& state) {
  state.take();
  state.give();
}

TEST(BoundedSemaphoreKillTest, Acquire) {
  auto acquire = steps("acquire");
  acquire.operation = [](State& state) { state.permits.acquire(); };
  acquire.stages = {kAfter, kBefore};
  acquire.run();
}

TEST(BoundedSemaphoreKillTest, AcquireMore) {
  auto more = steps("acquire of a second");
  more.prepare = [](State& state) { state.permits.acquire(); };
  more.operation = [](State& state) { state.permits.acquire(); };
  more.stages = {kAfter, kBefore};
  more.run();
}

TEST(BoundedSemaphoreKillTest, AcquireInASlotThatWasAnothers) {
  auto reuse = steps("acquire in a used slot");
  reuse.setup = [] { return State{1}; };
  reuse.operation = [](State& state) { state.permits.acquire(); };
  reuse.stages = {{.name = "partner was there and comes again", .before = take_and_give, .after = take_and_give}};
  reuse.run();
}

// Step by step it takes longer to fall asleep than its first sleeps last: it is given a permit when it has left word
// that it is about to.
TEST(BoundedSemaphoreKillTest, AcquireOnTheWayToSleep) {
  auto waits = steps("acquire, about to sleep");
  waits.warm_up = [](State& state) { (void)state.permits.acquire(1ms); };
  waits.operation = [](State& state) { state.permits.acquire(); };
  waits.stages = {holding_all("partner holds all", [](const State& state) {
    const auto& table = *std::launder(reinterpret_cast<const PermitTable*>(state.place.address()));
    return (table.turns & PermitTable::kSleepers) != 0;
  })};
  waits.run();
}

TEST(BoundedSemaphoreKillTest, AcquireAsleep) {
  auto asleep = steps("acquire, asleep");
  asleep.kill_at = KillAt::every_system_call;
  asleep.warm_up = [](State& state) { (void)state.permits.acquire(1ms); };
  asleep.prepare = [](State& state) { state.notes().waker.victim = ::getpid(); };
  asleep.operation = [](State& state) { state.permits.acquire(); };
  auto beside = holding_all("partner holds all, another waits");
  beside.blocked = [](State& state) { state.permits.acquire(); };
  asleep.stages = {holding_all("partner holds all"), beside};
  asleep.run();
}

TEST(BoundedSemaphoreKillTest, AcquireWithADeadline) {
  auto bounded = steps("acquire(deadline)");
  bounded.operation = [](State& state) { (void)state.permits.acquire(15ms); };
  bounded.stages = {{.name = "partner holds all", .before = [](State& state) { state.take(kBound); }}};
  bounded.run();
}

// A child held all permits, and is dead.
State of_the_dead() {
  State state;
  const pid_t holder = ::fork();
  if (holder == 0) {
    for (int i = 0; i < kBound; ++i) state.permits.acquire();
    ::_exit(0);
  }
  ::waitpid(holder, nullptr, 0);
  return state;
}

TEST(BoundedSemaphoreKillTest, AcquireFromTheDead) {
  auto heir = steps("acquire from the dead");
  heir.setup = of_the_dead;
  heir.operation = [](State& state) { state.permits.acquire(); };
  heir.stages = {kAfter};
  heir.run();
}

TEST(BoundedSemaphoreKillTest, Release) {
  auto release = steps("release");
  release.prepare = [](State& state) {
    state.permits.acquire();
    state.permits.acquire();
  };
  release.operation = [](State& state) { state.permits.release(2); };
  release.stages = {kAfter, kBefore};
  release.run();
}

TEST(BoundedSemaphoreKillTest, ReleaseToASleeper) {
  auto release = steps("release to a sleeper");
  release.prepare = [](State& state) {
    for (int i = 0; i < kBound; ++i) state.permits.acquire();
  };
  release.operation = [](State& state) { state.permits.release(2); };
  release.stages = {{.name = "partner waits", .blocked = take_and_give}};
  release.run();
}

TEST(BoundedSemaphoreKillTest, Value) {
  auto value = steps("value");
  value.operation = [](State& state) { (void)state.permits.value(); };
  value.stages = {kAfter, kBefore};
  value.run();
}

TEST(BoundedSemaphoreKillTest, ValueOfWhatTheDeadHeld) {
  auto value = steps("value of what the dead held");
  value.setup = of_the_dead;
  value.operation = [](State& state) { (void)state.permits.value(); };
  value.stages = {kAfter};
  value.run();
}

}  // namespace
