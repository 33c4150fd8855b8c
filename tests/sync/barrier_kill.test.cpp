// SPDX-License-Identifier: MIT
//
// Barrier, killed after each instruction: the others pass or hear that it is broken, and after reset() it is as new.

#include <multiproc/sync/barrier.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

#include <gtest/gtest.h>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/module.hpp>
#include <multiproc/shm/segment.hpp>

#include "support/kill_step.hpp"
#include "sync/own_memory.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Barrier;
using multiproc::BrokenBarrier;
using support::Findings;
using support::KillStage;
using support::KillStep;
using sync_test::Place;

void do_nothing() {}

// As far as a Barrier decodes itself; with do_nothing() as its action, or without.
struct Reader {
  const Place& place;
  bool has_action = false;
  multiproc::os::CodeAddress code = *multiproc::os::locate_code(reinterpret_cast<const void*>(&do_nothing));
  int strings = 0;
  int numbers = 0;

  multiproc::os::Fd take_fd() const { return place.segment->descriptor(); }
  template <class T>
  T read() {
    if constexpr (std::is_same_v<T, bool>) {
      return has_action;
    } else if constexpr (std::is_same_v<T, std::string>) {
      return strings++ == 0 ? code.build_id : code.path;
    } else {
      return static_cast<T>(numbers++ == 0 ? place.offset : code.offset);
    }
  }
};

struct Notes {
  std::atomic<bool> partner_ended{false};
};

struct State {
  explicit State(bool has_action = false) : place(sync_test::own_memory()), barrier(make(place, has_action)) {
    sync_test::make_notes<Notes>(place);
  }

  static Barrier make(const Place& at, bool has_action) {
    EXPECT_LE(multiproc::detail::size_of_barrier(2), 2048U);
    multiproc::detail::make_barrier_at(at, 2);
    Reader reader{at, has_action};
    return multiproc::Travel<Barrier>::decode(reader);
  }
  Notes& notes() const { return sync_test::notes_in<Notes>(place); }

  Place place;
  Barrier barrier;
};

void wait(State& state) {
  try {
    (void)state.barrier.wait();
  } catch (const BrokenBarrier&) {
  }
}
void wait_shortly(State& state) {
  try {
    (void)state.barrier.wait(2ms);
  } catch (const BrokenBarrier&) {
  }
}

void check(State& state, Findings& found) {
  state.barrier.reset();
  if (state.barrier.broken()) found.corrupt("broken after reset()");
  if (state.barrier.n_waiting() != 0) found.leaked("somebody waits who is dead");
  for (int i = 0; i < 2; ++i) {
    int other = -1;
    std::thread thread([&] {
      try {
        other = state.barrier.wait();
      } catch (const BrokenBarrier&) {
      }
    });
    int mine = -1;
    try {
      mine = state.barrier.wait();
    } catch (const BrokenBarrier&) {
    }
    thread.join();
    if (mine + other != 1 || mine * other != 0) found.corrupt("two don't pass as 0 and 1");
  }
}

KillStep<State> steps(const std::string& name) {
  KillStep<State> made;
  made.name = "Barrier::" + name;
  made.setup = [] { return State{}; };
  made.check = check;
  return made;
}

// Passes, or hears that it is broken, by itself where the victim's arrival, abort() or reset() took place.
const KillStage<State> kPartnerWaits{
    .name = "partner waits",
    .blocked =
        [](State& state) {
          wait(state);
          state.notes().partner_ended = true;
        },
    .after =
        [](State& state) {
          const auto until = std::chrono::steady_clock::now() + 20ms;
          while (!state.notes().partner_ended && std::chrono::steady_clock::now() < until) std::this_thread::yield();
          if (!state.notes().partner_ended) state.barrier.abort();
        }};

TEST(BarrierKillTest, WaitAsTheFirst) {
  auto first = steps("wait, first");
  first.warm_up = wait_shortly;
  first.operation = wait;
  first.stages = {{.name = "partner comes", .unblock = wait, .after = wait_shortly},
                  {.name = "partner resets", .unblock = [](State& state) { state.barrier.reset(); }}};
  first.run();
}

TEST(BarrierKillTest, WaitAsTheLast) {
  auto last = steps("wait, last");
  last.warm_up = wait_shortly;
  last.operation = wait;
  last.stages = {kPartnerWaits};
  last.run();
}

TEST(BarrierKillTest, WaitAsTheLastWithAnAction) {
  auto last = steps("wait, last, action");
  last.setup = [] { return State{true}; };
  last.warm_up = wait_shortly;
  last.operation = wait;
  last.stages = {kPartnerWaits};
  last.run();
}

TEST(BarrierKillTest, WaitWithADeadline) {
  auto wait = steps("wait(deadline)");
  wait.operation = wait_shortly;
  wait.stages = {{.name = "alone"}, {.name = "partner comes after", .after = wait_shortly}};
  wait.run();
}

TEST(BarrierKillTest, Abort) {
  auto abort = steps("abort");
  abort.operation = [](State& state) { state.barrier.abort(); };
  abort.stages = {{.name = "partner aborts too", .after = [](State& state) { state.barrier.abort(); }}, kPartnerWaits};
  abort.run();
}

TEST(BarrierKillTest, Reset) {
  auto reset = steps("reset");
  reset.operation = [](State& state) { state.barrier.reset(); };
  reset.stages = {{.name = "partner aborted before", .before = [](State& state) { state.barrier.abort(); }},
                  kPartnerWaits};
  reset.run();
}

}  // namespace
