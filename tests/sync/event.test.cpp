// SPDX-License-Identifier: MIT

#include <multiproc/sync/event.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <pthread.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/ipc/sendable.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/segment.hpp>

#include "os/os_test.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Deadline;
using multiproc::Event;
using multiproc::Process;
using support::kPatience;
using support::Wire;
using Clock = std::chrono::steady_clock;

static_assert(multiproc::Sendable<Event> && std::is_copy_constructible_v<Event>);
static_assert(noexcept(std::declval<const Event&>().set()) && noexcept(std::declval<const Event&>().clear()));

using SharedInt = multiproc::detail::Shared<std::atomic<int>>;

// The segment that small objects stand in stays for the life of the process: it is there before the first test counts
// descriptors, and no test fills it.
const auto begun = SharedInt::make(0);

// A child that waits for the event and ends with 0 when it came. Returns once the child is about to wait.
std::unique_ptr<os_test::PlainChild> waiter(const Event& event) {
  *begun = 0;
  auto child = std::make_unique<os_test::PlainChild>([&] {
    *begun = 1;
    event.wait();
  });
  while (*begun != 1) std::this_thread::yield();
  return child;
}

TEST(EventTest, IsSetUntilItIsCleared) {
  const Event event;
  EXPECT_FALSE(event.is_set());

  event.set();
  event.set();
  EXPECT_TRUE(event.is_set());
  event.wait();
  EXPECT_TRUE(event.wait(Deadline::now()));

  event.clear();
  event.clear();
  EXPECT_FALSE(event.is_set());
  EXPECT_FALSE(event.wait(Deadline::now()));
}

TEST(EventTest, ACopyNamesTheSameEvent) {
  Event event;
  const Event copy = event;
  const Event moved = std::move(event);
  const Event other;

  event.set();

  EXPECT_TRUE(copy.is_set());
  EXPECT_TRUE(moved.is_set());
  EXPECT_FALSE(other.is_set());
  EXPECT_EQ(copy, moved);
  EXPECT_NE(copy, other);
}

TEST(EventTest, ADeadlineBoundsTheWaitAndAPastOneLooksOnce) {
  const Event event;
  const auto began = Clock::now();

  EXPECT_FALSE(event.wait(120ms));  // longer than one sleep

  EXPECT_GE(Clock::now() - began, 120ms);
  EXPECT_FALSE(event.wait(-1h));
  EXPECT_FALSE(event.wait(Clock::now() - 1h));
  event.set();
  EXPECT_TRUE(event.wait(-1h));
}

TEST(EventTest, AWaitGoesOnUnderAStormOfSignals) {
  const Event event;
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_FALSE(event.wait(60ms));

  EXPECT_GE(Clock::now() - began, 60ms);
  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST(EventTest, WakesAllWhoWaitThreadsAndProcesses) {
  const Event event;
  const auto first = waiter(event);
  const auto second = waiter(event);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] { EXPECT_TRUE(event.wait(support::scaled(kPatience))); });
  }

  event.set();

  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(first->wait(), 0);
  EXPECT_EQ(second->wait(), 0);
  EXPECT_TRUE(event.is_set());
}

TEST(EventTest, WhoWaitedComesBackAlthoughItWasClearedAtOnce) {
  const Event event;
  // A child may still be on its way to wait(), however long it was given: that one is set free by a later set().
  for (int round = 0; round < 50; ++round) {
    const auto child = waiter(event);
    const auto since = Clock::now();
    while (Clock::now() - since < 2ms) std::this_thread::yield();

    event.set();
    event.clear();

    EXPECT_FALSE(event.is_set());
    const support::Witness witness(child->pid());
    while (!witness.ends(200ms)) {
      event.set();
      event.clear();
    }
    EXPECT_EQ(child->wait(), 0);
  }
}

TEST(EventTest, PingPongLosesNothing) {
  constexpr int kRounds = 2000;
  const Event ping;
  const Event pong;
  os_test::PlainChild partner{[&] {
    for (int i = 0; i < kRounds; ++i) {
      ping.wait();
      ping.clear();
      pong.set();
    }
  }};

  for (int i = 0; i < kRounds; ++i) {
    ping.set();
    ASSERT_TRUE(pong.wait(support::scaled(kPatience))) << "round " << i;
    pong.clear();
  }

  EXPECT_EQ(partner.wait(), 0);
}

TEST(EventTest, WhatWasDoneBeforeSetIsSeenAfterWait) {
  const Event event;
  const auto word = SharedInt::make(0);
  os_test::PlainChild child{[&] {
    event.wait();
    ::_exit(word->load(std::memory_order_relaxed));
  }};

  word->store(42, std::memory_order_relaxed);
  event.set();

  EXPECT_EQ(WEXITSTATUS(child.wait()), 42);
}

TEST(EventTest, KilledWaitersCostNothing) {
  const Event event;
  for (int round = 0; round < 200; ++round) {
    const auto doomed = waiter(event);
    const auto living = waiter(event);
    ::kill(doomed->pid(), SIGKILL);
    if (round % 2 == 0) (void)doomed->wait();

    event.set();

    EXPECT_EQ(living->wait(), 0) << "round " << round;
    event.clear();
  }
}

TEST(EventTest, AKilledSetterLeavesNobodyAsleep) {
  const auto go = SharedInt::make(0);
  for (int round = 0; round < 100; ++round) {
    const Event event;
    *go = 0;
    const auto sleeper = waiter(event);
    os_test::PlainChild setter{[&] {
      *go = 1;
      event.set();
      os_test::pause_for_ever();
    }};
    while (*go != 1) std::this_thread::yield();
    for (int i = 0; i < round; ++i) (void)Clock::now();  // another moment each time
    ::kill(setter.pid(), SIGKILL);
    (void)setter.wait();

    // It is set or it is not. Where it is, nobody needs to do it again.
    if (!event.is_set()) event.set();

    EXPECT_EQ(sleeper->wait(), 0);
  }
}

const Event* handled = nullptr;

TEST(EventTest, IsSetFromASignalHandlerWhileTheSameThreadWaits) {
  const Event event;
  handled = &event;
  struct sigaction action {};
  struct sigaction before {};
  action.sa_handler = [](int) { handled->set(); };
  ::sigaction(SIGUSR1, &action, &before);
  const auto thread = ::pthread_self();
  const Event woken;
  std::thread sender([&] {
    while (!woken.is_set()) {
      ::pthread_kill(thread, SIGUSR1);
      std::this_thread::yield();
    }
  });

  for (int round = 0; round < 100; ++round) {
    EXPECT_TRUE(event.wait(support::scaled(kPatience)));
    event.clear();
  }
  woken.set();
  sender.join();

  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(EventTest, SetLeavesErrnoAlone) {
  const Event event;
  const auto sleeper = waiter(event);
  const os_test::Refusing refusing{"futex", EPERM, 1, 1000};

  errno = 4711;
  event.set();

  EXPECT_EQ(errno, 4711);
  EXPECT_EQ(sleeper->wait(), 0) << "no wake-up came, and it did not look for itself";
}

class EventInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(EventInProcessesTest);

TEST_P(EventInProcessesTest, TravelsAsAnArgument) {
  const Event go;
  const Event gone;
  Process child{options(),
                [](const Event& start, const Event& end) {
                  start.wait();
                  end.set();
                },
                go, gone};
  child.start();

  EXPECT_FALSE(gone.wait(5ms));
  go.set();

  EXPECT_TRUE(gone.wait(support::scaled(kPatience)));
  child.join();
  EXPECT_EQ(child.exitcode(), 0);
}

}  // namespace
