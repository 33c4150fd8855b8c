// SPDX-License-Identifier: MIT
//
// Semaphore, killed after each instruction: the count is exact, and nobody sleeps beside one.

#include <multiproc/sync/semaphore.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <thread>
#include <utility>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/shm/segment.hpp>

#include "support/kill_step.hpp"
#include "sync/own_memory.hpp"
#include "sync/waker.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Semaphore;
using support::Findings;
using support::KillStage;
using support::KillStep;
using sync_test::Place;

struct Notes {
  std::atomic<int> count{0};  // what the living have left of it
  sync_test::WakerNotes waker;
};

struct State {
  explicit State(std::uint32_t count) : place(sync_test::own_memory()), semaphore(make(place, count)) {
    sync_test::make_notes<Notes>(place);
    notes().count = static_cast<int>(count);
  }

  static Semaphore make(const Place& at, std::uint32_t count) {
    new (at.address()) multiproc::detail::SemaphoreState(count);
    return sync_test::handle_at<Semaphore>(at);
  }
  Notes& notes() const { return sync_test::notes_in<Notes>(place); }

  // Of a partner.
  void take() const {
    semaphore.acquire();
    --notes().count;
  }
  void give(int count = 1) const {
    semaphore.release(count);
    notes().count += count;
  }

  Place place;
  Semaphore semaphore;
};

KillStep<State> steps(std::string name, std::uint32_t count, int least_effect, int most_effect) {
  return {.name = "Semaphore::" + std::move(name),
          .setup = [count] { return State{count}; },
          .operation = {},
          .check =
              [=](State& state, Findings& found) {
                const std::ptrdiff_t effect = state.semaphore.value() - state.notes().count;
                const std::string text = "the count is off by " + std::to_string(effect);
                if (effect < least_effect) found.lost(text);
                if (effect > most_effect) found.corrupt(text);
                if (effect != least_effect && effect != most_effect) found.corrupt("half of it: " + text);
                while (state.semaphore.try_acquire()) --state.notes().count;
                state.semaphore.release();
                if (!state.semaphore.acquire(1ms)) found.lost("what was released last");
              },
          .budget = 1s};
}

const KillStage<State> kAfter{.name = "partner comes after", .after = [](State& state) {
                                state.give();
                                state.take();
                              }};

TEST(SemaphoreKillTest, Acquire) {
  auto acquire = steps("acquire", 2, -1, 0);
  acquire.operation = [](State& state) { state.semaphore.acquire(); };
  acquire.stages = {kAfter, {.name = "partner was there before", .before = [](State& state) { state.take(); }}};
  acquire.run();
}

// Gives so many whenever the victim sleeps, and once in any case.
KillStage<State> giving(std::string name, int count) {
  return {.name = std::move(name),
          .before =
              [count](State& state) {
                sync_test::Waker::start(
                    state.notes().waker, [] {},
                    [state, count] {
                      state.give(count);
                      return true;
                    });
              },
          .after = [](State& state) { sync_test::Waker::end(state.notes().waker); }};
}

TEST(SemaphoreKillTest, AcquireAsleep) {
  auto asleep = steps("acquire, asleep", 0, -1, 0);
  asleep.warm_up = [](State& state) { (void)state.semaphore.acquire(1ms); };
  asleep.prepare = [](State& state) { state.notes().waker.victim = ::getpid(); };
  asleep.operation = [](State& state) { state.semaphore.acquire(); };
  auto one = giving("partner gives one, another waits", 1);
  one.blocked = [](State& state) { state.take(); };
  one.after = [](State& state) {
    sync_test::Waker::end(state.notes().waker);
    state.give();
  };
  auto two = giving("partner gives two, another waits", 2);
  two.blocked = one.blocked;
  asleep.stages = {giving("partner gives one", 1), one, two};
  asleep.run();
}

TEST(SemaphoreKillTest, AcquireWithADeadline) {
  auto bounded = steps("acquire(deadline)", 0, -1, 0);
  bounded.operation = [](State& state) { (void)state.semaphore.acquire(5ms); };
  bounded.stages = {kAfter};
  bounded.run();
}

TEST(SemaphoreKillTest, Release) {
  auto release = steps("release", 0, 0, 1);
  release.operation = [](State& state) { state.semaphore.release(); };
  release.stages = {kAfter};
  release.run();
}

TEST(SemaphoreKillTest, ReleaseToASleeper) {
  auto release = steps("release to a sleeper", 0, 0, 2);
  release.operation = [](State& state) { state.semaphore.release(2); };
  // What it did not give the partner gives, so that the sleeper's end is due in any case.
  release.stages = {{.name = "partner waits",
                     .blocked = [](State& state) { state.take(); },
                     .after = [](State& state) { state.give(); }}};
  release.run();
}

TEST(SemaphoreKillTest, ReleaseToTwoSleepers) {
  auto release = steps("release to two sleepers", 0, 0, 2);
  release.operation = [](State& state) { state.semaphore.release(2); };
  release.stages = {{.name = "partner waits twice",
                     .blocked =
                         [](State& state) {
                           std::thread second([&] { state.take(); });
                           state.take();
                           second.join();
                         },
                     .after =
                         [](State& state) {
                           // Without a call if the victim has given: nobody else wakes those who wait then.
                           if (state.semaphore.value() == 0 && state.notes().count == 0) state.give(2);
                         }}};
  release.run();
}

}  // namespace
