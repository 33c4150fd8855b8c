// SPDX-License-Identifier: MIT

#include <multiproc/sync/semaphore.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/sendable.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/segment.hpp>

#include "os/os_test.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Deadline;
using multiproc::Error;
using multiproc::Process;
using multiproc::Semaphore;
using support::kPatience;
using Clock = std::chrono::steady_clock;

static_assert(multiproc::Sendable<Semaphore> && std::is_copy_constructible_v<Semaphore>);

using SharedInt = multiproc::detail::Shared<std::atomic<int>>;

// The segment that small objects stand in stays for the life of the process: it is there before the first test counts
// descriptors, and no test fills it.
const Semaphore first_in_its_segment;

TEST(SemaphoreTest, CountsExactly) {
  const Semaphore semaphore(3);
  EXPECT_EQ(semaphore.value(), 3);

  semaphore.acquire();
  EXPECT_TRUE(semaphore.acquire(1s));
  EXPECT_TRUE(semaphore.try_acquire());
  EXPECT_EQ(semaphore.value(), 0);
  EXPECT_FALSE(semaphore.try_acquire());

  semaphore.release();
  semaphore.release(5);
  EXPECT_EQ(semaphore.value(), 6);
}

TEST(SemaphoreTest, BeginsAtOne) {
  EXPECT_EQ(Semaphore().value(), 1);
  EXPECT_EQ(Semaphore(0).value(), 0);
}

TEST(SemaphoreTest, RefusesWhatCanNotBeCounted) {
  EXPECT_THROW(Semaphore(-1), Error);
  EXPECT_THROW(Semaphore(Semaphore::max() + 1), Error);
  const Semaphore semaphore(Semaphore::max() - 1);
  EXPECT_THROW(semaphore.release(0), Error);
  EXPECT_THROW(semaphore.release(-1), Error);
  EXPECT_THROW(semaphore.release(2), Error);
  EXPECT_EQ(semaphore.value(), Semaphore::max() - 1);

  semaphore.release();

  EXPECT_EQ(semaphore.value(), Semaphore::max());
  EXPECT_THROW(semaphore.release(), Error);
}

TEST(SemaphoreTest, ACopyNamesTheSameCounter) {
  Semaphore semaphore(0);
  const Semaphore copy = semaphore;
  const Semaphore moved = std::move(semaphore);
  const Semaphore other(0);

  semaphore.release(2);

  EXPECT_EQ(copy.value(), 2);
  EXPECT_EQ(moved.value(), 2);
  EXPECT_EQ(other.value(), 0);
  EXPECT_EQ(copy, moved);
  EXPECT_NE(copy, other);
}

TEST(SemaphoreTest, ADeadlineBoundsTheWaitAndAPastOneTriesOnce) {
  const Semaphore semaphore(0);
  const auto began = Clock::now();

  EXPECT_FALSE(semaphore.acquire(120ms));  // longer than one sleep

  EXPECT_GE(Clock::now() - began, 120ms);
  EXPECT_FALSE(semaphore.acquire(-1h));
  EXPECT_FALSE(semaphore.acquire(Clock::now() - 1h));
  EXPECT_EQ(semaphore.value(), 0);
  semaphore.release();
  EXPECT_TRUE(semaphore.acquire(-1h));
  EXPECT_EQ(semaphore.value(), 0);
}

TEST(SemaphoreTest, SpeaksTheStandardsNamesToo) {
  const Semaphore semaphore(1);
  EXPECT_TRUE(semaphore.try_acquire_for(1h));
  EXPECT_FALSE(semaphore.try_acquire_for(5ms));
  EXPECT_FALSE(semaphore.try_acquire_until(std::chrono::steady_clock::now() + 5ms));
  semaphore.release();
  EXPECT_TRUE(semaphore.try_acquire_until(std::chrono::system_clock::now() + 1h));
  EXPECT_EQ(semaphore.value(), 0);
}

TEST(SemaphoreTest, AWaitGoesOnUnderAStormOfSignals) {
  const Semaphore semaphore(0);
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_FALSE(semaphore.acquire(60ms));

  EXPECT_GE(Clock::now() - began, 60ms);
  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST(SemaphoreTest, OneReleaseOfManyWakesAsMany) {
  constexpr int kWaiters = 6;
  const Semaphore semaphore(0);
  const auto begun = SharedInt::make(0);
  std::vector<std::thread> threads;
  for (int i = 0; i < kWaiters; ++i) {
    threads.emplace_back([&] {
      ++*begun;
      EXPECT_TRUE(semaphore.acquire(support::scaled(kPatience)));
    });
  }
  while (*begun != kWaiters) std::this_thread::yield();

  semaphore.release(kWaiters);

  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(semaphore.value(), 0);
}

TEST(SemaphoreTest, ProducersAndConsumersInThreadsAndProcessesLoseNothing) {
  constexpr int kItems = 20'000;
  const Semaphore items(0);
  const Semaphore room(4);  // small: everybody sleeps now and then
  const auto produced = SharedInt::make(0);
  const auto consumed = SharedInt::make(0);
  const auto produce = [&] {
    for (int i = 0; i < kItems; ++i) {
      room.acquire();
      produced->fetch_add(1, std::memory_order_relaxed);
      items.release();
    }
  };
  const auto consume = [&] {
    for (int i = 0; i < kItems; ++i) {
      items.acquire();
      consumed->fetch_add(1, std::memory_order_relaxed);
      room.release();
    }
  };

  os_test::PlainChild first{produce};
  os_test::PlainChild second{consume};
  std::thread third(produce);
  consume();
  third.join();

  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_EQ(*produced, 2 * kItems);
  EXPECT_EQ(*consumed, 2 * kItems);
  EXPECT_EQ(items.value(), 0);
  EXPECT_EQ(room.value(), 4);
}

TEST(SemaphoreTest, NothingComesBackWhenAProcessDies) {
  const Semaphore semaphore(3);
  const auto taken = SharedInt::make(0);
  os_test::PlainChild child{[&] {
    semaphore.acquire();
    semaphore.acquire();
    *taken = 1;
    os_test::pause_for_ever();
  }};
  while (*taken != 1) std::this_thread::yield();

  ::kill(child.pid(), SIGKILL);
  (void)child.wait();

  EXPECT_EQ(semaphore.value(), 1);
}

// A waiter is killed before, while and after it is woken. What it had not taken then is for the other.
TEST(SemaphoreTest, KilledWaitersCostNothing) {
  const auto begun = SharedInt::make(0);
  for (int round = 0; round < 100; ++round) {
    const Semaphore semaphore(0);
    *begun = 0;
    os_test::PlainChild doomed{[&] {
      ++*begun;
      semaphore.acquire();
      os_test::pause_for_ever();
    }};
    os_test::PlainChild living{[&] {
      ++*begun;
      semaphore.acquire();
    }};
    while (*begun != 2) std::this_thread::yield();
    const auto since = Clock::now();
    while (Clock::now() - since < std::chrono::microseconds(round * 6)) std::this_thread::yield();

    if (round % 3 == 0) ::kill(doomed.pid(), SIGKILL);
    semaphore.release();
    ::kill(doomed.pid(), SIGKILL);
    (void)doomed.wait();
    // The dead one took it, or it is for the other: it may not lie there while the other sleeps.
    while (semaphore.value() != 0) std::this_thread::yield();
    semaphore.release();

    EXPECT_EQ(living.wait(), 0);
  }
}

TEST(SemaphoreTest, ACountThatAKilledWaiterLeftIsTaken) {
  const Semaphore semaphore(0);
  const auto begun = SharedInt::make(0);
  const auto wait_here = [&] {
    ++*begun;
    semaphore.acquire();
  };
  for (int round = 0; round < 50; ++round) {
    *begun = 0;
    os_test::PlainChild stopped{wait_here};
    while (*begun != 1) std::this_thread::yield();
    const auto since = Clock::now();
    while (Clock::now() - since < 500us) std::this_thread::yield();
    ::kill(stopped.pid(), SIGSTOP);  // it can be woken now, but it can't take anything
    int status = 0;
    ASSERT_EQ(::waitpid(stopped.pid(), &status, WUNTRACED), stopped.pid());
    ASSERT_TRUE(WIFSTOPPED(status));
    os_test::PlainChild living{wait_here};
    while (*begun != 2) std::this_thread::yield();

    semaphore.release();  // whoever is woken
    ::kill(stopped.pid(), SIGKILL);
    (void)stopped.wait();

    EXPECT_EQ(living.wait(), 0) << "the count was there, and nobody told the other";
    EXPECT_EQ(semaphore.value(), 0);
  }
}

TEST(SemaphoreTest, ReleaseLeavesErrnoAloneAndNobodyAsleep) {
  const Semaphore semaphore(0);
  const auto begun = SharedInt::make(0);
  os_test::PlainChild sleeper{[&] {
    *begun = 1;
    semaphore.acquire();
  }};
  while (*begun != 1) std::this_thread::yield();
  const auto since = Clock::now();
  while (Clock::now() - since < 5ms) std::this_thread::yield();
  const os_test::Refusing refusing{"futex", EPERM, 1, 1000};

  errno = 4711;
  semaphore.release();

  EXPECT_EQ(errno, 4711);
  EXPECT_EQ(sleeper.wait(), 0) << "no wake-up came, and it did not look for itself";
}

class SemaphoreInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(SemaphoreInProcessesTest);

TEST_P(SemaphoreInProcessesTest, TravelsAsAnArgument) {
  const Semaphore go(0);
  const Semaphore done(0);
  Process child{options(),
                [](const Semaphore& start, const Semaphore& end) {
                  start.acquire();
                  end.release(2);
                },
                go, done};
  child.start();

  EXPECT_FALSE(done.acquire(5ms));
  go.release();

  EXPECT_TRUE(done.acquire(support::scaled(kPatience)));
  EXPECT_TRUE(done.acquire(support::scaled(kPatience)));
  child.join();
  EXPECT_EQ(child.exitcode(), 0);
  EXPECT_EQ(go.value() + done.value(), 0);
}

}  // namespace
