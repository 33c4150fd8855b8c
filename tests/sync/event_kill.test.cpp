// SPDX-License-Identifier: MIT
//
// Event, killed after each instruction: it is set or it is not, and where it is, nobody sleeps.

#include <multiproc/sync/event.hpp>

#include <chrono>
#include <cstdint>
#include <new>
#include <string>
#include <utility>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/shm/segment.hpp>

#include "support/kill_step.hpp"
#include "sync/own_memory.hpp"
#include "sync/waker.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Event;
using multiproc::detail::EventState;
using support::Findings;
using support::KillStage;
using support::KillStep;
using sync_test::Place;

struct State {
  State() : place(sync_test::own_memory()), event(make(place)) { sync_test::make_notes<sync_test::WakerNotes>(place); }

  static Event make(const Place& at) {
    new (at.address()) EventState;
    return sync_test::handle_at<Event>(at);
  }
  sync_test::WakerNotes& waker() const { return sync_test::notes_in<sync_test::WakerNotes>(place); }
  std::uint32_t word() const { return std::launder(reinterpret_cast<EventState*>(place.address()))->word.load(); }
  bool was_ever_set() const { return (word() & (EventState::kSet | EventState::kTimes)) != 0; }

  Place place;
  Event event;
};

void check(State& state, Findings& found) {
  state.event.set();
  if (!state.event.is_set() || !state.event.wait(1ms)) found.lost("a set()");
  state.event.clear();
  if (state.event.is_set() || state.event.wait(1ms)) found.corrupt("it stays set");
}

KillStep<State> steps(std::string name) {
  return {.name = "Event::" + std::move(name),
          .setup = [] { return State{}; },
          .operation = {},
          .check = check,
          .budget = 1s};
}

// It has to end without another call of set() if the victim's took place.
const KillStage<State> kPartnerWaits{.name = "partner waits",
                                     .blocked = [](State& state) { state.event.wait(); },
                                     .after =
                                         [](State& state) {
                                           if (!state.was_ever_set()) state.event.set();
                                         }};

TEST(EventKillTest, Set) {
  auto set = steps("set");
  set.operation = [](State& state) { state.event.set(); };
  set.stages = {{.name = "partner comes after", .after = [](State& state) { (void)state.event.wait(1ms); }},
                kPartnerWaits};
  set.run();
}

TEST(EventKillTest, SetAndClear) {
  auto both = steps("set, clear");
  both.operation = [](State& state) {
    state.event.set();
    state.event.clear();
  };
  both.stages = {kPartnerWaits};
  both.run();
}

TEST(EventKillTest, Clear) {
  auto clear = steps("clear");
  clear.prepare = [](State& state) { state.event.set(); };
  clear.operation = [](State& state) { state.event.clear(); };
  clear.stages = {{.name = "partner sets it after", .after = [](State& state) { state.event.set(); }},
                  {.name = "partner clears it before", .before = [](State& state) { state.event.clear(); }}};
  clear.run();
}

TEST(EventKillTest, Wait) {
  auto wait = steps("wait");
  wait.warm_up = [](State& state) { (void)state.event.wait(1ms); };
  wait.prepare = [](State& state) { state.waker().victim = ::getpid(); };
  wait.operation = [](State& state) { state.event.wait(); };
  const KillStage<State> alone{.name = "partner sets it",
                               .before =
                                   [](State& state) {
                                     sync_test::Waker::start(
                                         state.waker(), [] {},
                                         [state] {
                                           state.event.set();
                                           return false;
                                         });
                                   },
                               .after = [](State& state) { sync_test::Waker::end(state.waker()); }};
  auto beside = alone;
  beside.name = "partner sets it, another waits";
  beside.blocked = [](State& state) { state.event.wait(); };
  wait.stages = {alone, beside};
  wait.run();
}

TEST(EventKillTest, WaitWithADeadline) {
  auto wait = steps("wait(deadline)");
  wait.operation = [](State& state) { (void)state.event.wait(5ms); };
  wait.stages = {{.name = "alone"}, kPartnerWaits};
  wait.run();
}

}  // namespace
