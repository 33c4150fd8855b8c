// SPDX-License-Identifier: MIT

#include <multiproc/sync/condition.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/segment.hpp>

#include "os/os_test.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Acquired;
using multiproc::Condition;
using multiproc::Deadline;
using multiproc::InvalidState;
using multiproc::Lock;
using multiproc::Process;
using multiproc::RLock;
using support::kPatience;
using Clock = std::chrono::steady_clock;

static_assert(multiproc::Sendable<Condition> && std::is_copy_constructible_v<Condition>);
static_assert(std::is_convertible_v<Condition::Outcome, bool>);

// What a test and the children that it forks have in common.
struct Notes {
  std::atomic<int> entered{0};   // waiters that hold the lock and are about to wait
  std::atomic<int> returned{0};  // those whose wait() came back notified
  std::atomic<int> word{0};
};
using SharedNotes = multiproc::detail::Shared<Notes>;

// The segments that small objects stand in stay for the life of the process: those for all tests are there before the
// first one counts descriptors.
const SharedNotes notes = SharedNotes::make();
const std::array<Condition, 40> made_before;
std::size_t taken = 0;
const Lock given_lock;
const Condition on_given_lock(given_lock);
const RLock given_rlock;
const Condition on_given_rlock(given_rlock);

const Condition& fresh() {
  notes->entered = 0;
  notes->returned = 0;
  notes->word = 0;
  return made_before.at(taken++);
}

void wait_once(const Condition& condition) {
  const std::scoped_lock held(condition);
  ++notes->entered;
  if (condition.wait()) ++notes->returned;
}

// Once somebody owns the lock after they entered, they wait.
void until_entered(const Condition& condition, int count) {
  while (notes->entered < count) std::this_thread::yield();
  const std::scoped_lock held(condition);
}

void until_returned(int count) {
  while (notes->returned < count) std::this_thread::yield();
}

void notify(const Condition& condition, std::ptrdiff_t n = 1) {
  const std::scoped_lock held(condition);
  condition.notify(n);
}

using Child = std::unique_ptr<os_test::PlainChild>;

// A child that waits, and ends when it was notified.
Child waiter(const Condition& condition) {
  const int before = notes->entered;
  auto child = std::make_unique<os_test::PlainChild>([&] { wait_once(condition); });
  until_entered(condition, before + 1);
  return child;
}

TEST(ConditionTest, WakesOneWhoWaits) {
  const Condition& condition = fresh();
  std::thread thread(wait_once, condition);
  until_entered(condition, 1);
  EXPECT_EQ(notes->returned, 0);

  notify(condition);

  thread.join();
  EXPECT_EQ(notes->returned, 1);
  EXPECT_FALSE(condition.get_lock().locked());
}

TEST(ConditionTest, IsALockToo) {
  const Condition& condition = fresh();

  EXPECT_EQ(condition.lock(), Acquired::clean);
  EXPECT_TRUE(condition.is_mine());
  EXPECT_TRUE(condition.get_lock().is_mine());
  condition.unlock();
  EXPECT_EQ(condition.acquire(), Acquired::clean);
  condition.release();
  EXPECT_TRUE(condition.acquire(1s));
  std::thread([&] { EXPECT_FALSE(condition.try_lock()); }).join();
  condition.release();
  EXPECT_THROW(condition.release(), InvalidState);
  EXPECT_THROW((void)condition.get_rlock(), InvalidState);
}

TEST(ConditionTest, ACopyNamesTheSameCondition) {
  const Condition& condition = fresh();
  const Condition& other = fresh();
  const Condition copy = condition;
  std::thread thread(wait_once, condition);
  until_entered(condition, 1);

  EXPECT_EQ(copy, condition);
  EXPECT_NE(other, condition);
  notify(copy);

  thread.join();
  EXPECT_EQ(notes->returned, 1);
}

TEST(ConditionTest, WaitsWithALockThatItWasGivenInEveryForm) {
  const Lock lock = given_lock;
  const Condition condition = on_given_lock;
  EXPECT_EQ(condition.get_lock(), lock);

  lock.lock();
  EXPECT_FALSE(condition.wait(lock, 1ms));
  EXPECT_FALSE(condition.wait(
      lock, [] { return false; }, 1ms));
  EXPECT_TRUE(condition.wait(lock, [] { return true; }));
  EXPECT_FALSE(condition.wait(1ms));
  EXPECT_TRUE(lock.is_mine());
  lock.unlock();

  std::unique_lock held(lock);
  EXPECT_FALSE(condition.wait(held, 1ms));
  EXPECT_FALSE(condition.wait(
      held, [] { return false; }, 1ms));
  EXPECT_TRUE(held.owns_lock());
  EXPECT_TRUE(lock.is_mine());
  held.unlock();

  const std::unique_lock of_the_condition(condition);
  EXPECT_FALSE(condition.wait(of_the_condition, 1ms));
  EXPECT_FALSE(condition.wait_for([] { return false; }, 1ms));
}

TEST(ConditionTest, AnRLockIsReleasedWhollyAndTakenAsOften) {
  RLock lock = given_rlock;
  const Condition condition = on_given_rlock;
  const Condition& other = fresh();
  EXPECT_EQ(condition.get_rlock(), lock);
  EXPECT_THROW((void)condition.get_lock(), InvalidState);
  std::thread waiting([&] {
    const std::scoped_lock first(lock);
    std::unique_lock second(lock);
    ++notes->entered;
    EXPECT_TRUE(condition.wait(second, support::scaled(kPatience)));
    EXPECT_TRUE(lock.is_mine());
    second.unlock();
    EXPECT_TRUE(lock.is_mine()) << "twice it was had, once given back";
    EXPECT_FALSE(condition.wait(lock, 1ms));
    EXPECT_THROW((void)other.wait(lock, 1ms), InvalidState);
  });
  until_entered(condition, 1);
  notify(condition);
  waiting.join();
  EXPECT_FALSE(lock.locked());
}

TEST(ConditionTest, NeedsItsOwnLockHeldByTheCaller) {
  const Condition& condition = fresh();
  Lock other;

  EXPECT_THROW((void)condition.wait(1ms), InvalidState);
  EXPECT_THROW((void)condition.wait(condition.get_lock(), 1ms), InvalidState);
  EXPECT_THROW(condition.notify(), InvalidState);
  EXPECT_THROW(condition.notify_all(), InvalidState);
  std::unique_lock not_held(other, std::defer_lock);
  EXPECT_THROW((void)condition.wait(not_held, 1ms), InvalidState);

  other.lock();
  EXPECT_THROW((void)condition.wait(other, 1ms), InvalidState);
  other.unlock();

  condition.lock();
  std::unique_lock deferred(condition, std::defer_lock);
  EXPECT_THROW((void)condition.wait(deferred, 1ms), InvalidState);
  EXPECT_THROW((void)condition.wait(std::unique_lock<Lock>(), 1ms), InvalidState);
  EXPECT_THROW(condition.notify(-1), multiproc::Error);
  std::thread([&] { EXPECT_THROW(condition.notify(), InvalidState); }).join();
  condition.unlock();
}

TEST(ConditionTest, ADeadlineBoundsTheWaitAndTheLockIsBack) {
  const Condition& condition = fresh();
  const std::scoped_lock held(condition);
  const auto began = Clock::now();

  EXPECT_FALSE(condition.wait(120ms));  // longer than one sleep

  EXPECT_GE(Clock::now() - began, 120ms);
  EXPECT_TRUE(condition.is_mine());
  EXPECT_FALSE(condition.wait(-1h));
  EXPECT_FALSE(condition.wait(Clock::now() - 1h));
  EXPECT_FALSE(condition.wait_for([] { return false; }, -1h));
  EXPECT_TRUE(condition.is_mine());
}

TEST(ConditionTest, TakesTheLockAgainAfterTheDeadlineHoweverLongThatLasts) {
  const Condition& condition = fresh();
  std::thread waiting([&] {
    const std::scoped_lock held(condition);
    ++notes->entered;
    EXPECT_FALSE(condition.wait(1ms));
    EXPECT_EQ(notes->word, 1) << "back before the lock was its own";
  });
  until_entered(condition, 1);
  condition.lock();
  const auto since = Clock::now();
  while (Clock::now() - since < 80ms) std::this_thread::yield();
  notes->word = 1;
  condition.unlock();
  waiting.join();
}

TEST(ConditionTest, AWaitGoesOnUnderAStormOfSignals) {
  const Condition& condition = fresh();
  const std::scoped_lock held(condition);
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_FALSE(condition.wait(60ms));

  EXPECT_GE(Clock::now() - began, 60ms);
  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST(ConditionTest, APredicateIsAskedWithTheLockHeldUntilItIsTrue) {
  const Condition& condition = fresh();
  os_test::PlainChild consumer{[&] {
    const std::scoped_lock held(condition);
    const bool got = condition.wait([&] {
      ++notes->entered;
      return condition.is_mine() && notes->word == 3;
    });
    ::_exit(got ? 0 : 1);
  }};
  for (int i = 1; i <= 3; ++i) {
    until_entered(condition, i);
    const std::scoped_lock held(condition);
    notes->word = i;
    condition.notify();
  }
  EXPECT_EQ(consumer.wait(), 0);
}

TEST(ConditionTest, NotifyingNobodyIsForgotten) {
  const Condition& condition = fresh();
  const std::scoped_lock held(condition);
  condition.notify();
  condition.notify_all();
  EXPECT_FALSE(condition.wait(5ms));
  condition.notify(0);
  EXPECT_FALSE(condition.wait(5ms));
}

TEST(ConditionTest, NotifyWithoutWaitersMakesNoSystemCall) {
  const Condition& condition = fresh();
  const std::scoped_lock held(condition);
  EXPECT_FALSE(condition.wait(1ms));
  const os_test::Refusing refusing{"futex", EPERM, 1, 1000};
  for (int i = 0; i < 10; ++i) condition.notify_all();
  EXPECT_EQ(multiproc::os::fault::seen("futex"), 0);
}

TEST(ConditionTest, TheLongestWaitingIsWokenFirst) {
  const Condition& condition = fresh();
  std::vector<Child> children;
  for (int i = 0; i < 4; ++i) {
    const int before = notes->entered;
    children.push_back(std::make_unique<os_test::PlainChild>([&, i] {
      wait_once(condition);
      notes->word = 100 + i;
    }));
    until_entered(condition, before + 1);
  }
  for (int i = 0; i < 4; ++i) {
    notify(condition);
    while (notes->word != 100 + i) {
      ASSERT_TRUE(notes->word < 100 + i) << "out of order";
      std::this_thread::yield();
    }
    EXPECT_EQ(children[static_cast<std::size_t>(i)]->wait(), 0);
  }
}

TEST(ConditionTest, NotifyWakesAsManyAsItSaysAndTheOthersWaitOn) {
  const Condition& condition = fresh();
  std::vector<Child> children;
  for (int i = 0; i < 3; ++i) children.push_back(waiter(condition));
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back(wait_once, condition);
  until_entered(condition, 5);

  notify(condition, 2);
  until_returned(2);
  // Longer than any look of those who sleep.
  const auto since = Clock::now();
  while (Clock::now() - since < 120ms) std::this_thread::yield();
  EXPECT_EQ(notes->returned, 2);

  notify(condition, 100);
  until_returned(5);
  for (const Child& child : children) EXPECT_EQ(child->wait(), 0);
  for (std::thread& thread : threads) thread.join();
}

TEST(ConditionTest, NotifyAllWakesAll) {
  const Condition& condition = fresh();
  std::vector<Child> children;
  for (int i = 0; i < 5; ++i) children.push_back(waiter(condition));
  {
    const std::scoped_lock held(condition);
    condition.notify_all();
  }
  for (const Child& child : children) EXPECT_EQ(child->wait(), 0);
  EXPECT_EQ(notes->returned, 5);
}

TEST(ConditionTest, TheDeadAreNotCountedAmongThoseToWake) {
  const Condition& condition = fresh();
  for (int round = 0; round < 20; ++round) {
    notes->entered = 0;
    notes->returned = 0;
    std::vector<Child> children;
    for (int i = 0; i < 5; ++i) children.push_back(waiter(condition));
    for (const std::size_t dead : {0U, 2U}) {
      ::kill(children[dead]->pid(), SIGKILL);
      (void)children[dead]->wait();
    }

    notify(condition, 2);

    EXPECT_EQ(children[1]->wait(), 0);
    EXPECT_EQ(children[3]->wait(), 0);
    EXPECT_EQ(notes->returned, 2);
    notify(condition);
    EXPECT_EQ(children[4]->wait(), 0);
  }
}

TEST(ConditionTest, AThousandKilledWaitersCostNoWakeUp) {
  const Condition& condition = fresh();
  for (int round = 0; round < 1000; ++round) {
    notes->entered = 0;
    const Child doomed = waiter(condition);
    ::kill(doomed->pid(), SIGKILL);
    if (round % 2 == 0) (void)doomed->wait();
    const Child living = waiter(condition);

    notify(condition);

    ASSERT_EQ(living->wait(), 0) << "round " << round;
  }
}

// It is stopped, so that it can't come back; what it was given goes to the one that waited beside it.
TEST(ConditionTest, AWakeUpOfOneWhoDiesBeforeItComesBackIsPassedOn) {
  const Condition& condition = fresh();
  for (int round = 0; round < 20; ++round) {
    notes->entered = 0;
    notes->returned = 0;
    const Child doomed = waiter(condition);
    const Child heir = waiter(condition);
    ::kill(doomed->pid(), SIGSTOP);
    int status = 0;
    ASSERT_EQ(::waitpid(doomed->pid(), &status, WUNTRACED), doomed->pid());

    notify(condition);
    const Child late = waiter(condition);
    if (round == 0) {
      const auto since = Clock::now();
      while (Clock::now() - since < 120ms) std::this_thread::yield();
    }
    EXPECT_EQ(notes->returned, 0) << "taken from one who is stopped";
    ::kill(doomed->pid(), SIGKILL);

    EXPECT_EQ(heir->wait(), 0);
    EXPECT_EQ(notes->returned, 1) << "the late one had no part in it";
    notify(condition);
    EXPECT_EQ(late->wait(), 0);
  }
}

TEST(ConditionTest, AWakeUpThatNobodyIsLeftForIsForgotten) {
  const Condition& condition = fresh();
  const Child doomed = waiter(condition);
  ::kill(doomed->pid(), SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(doomed->pid(), &status, WUNTRACED), doomed->pid());
  notify(condition);
  ::kill(doomed->pid(), SIGKILL);
  (void)doomed->wait();

  const std::scoped_lock held(condition);
  EXPECT_FALSE(condition.wait(120ms)) << "it came after that";
}

TEST(ConditionTest, WaitSaysThatTheOwnerBeforeDied) {
  const Condition& condition = fresh();
  os_test::PlainChild doomed{[&] {
    until_entered(condition, 1);
    condition.lock();
    condition.notify();
    notes->word = 1;
    os_test::pause_for_ever();
  }};
  std::thread killer([&] {
    while (notes->word != 1) std::this_thread::yield();
    ::kill(doomed.pid(), SIGKILL);
  });
  const std::scoped_lock held(condition);
  ++notes->entered;

  const Condition::Outcome outcome = condition.wait();

  EXPECT_TRUE(outcome);
  EXPECT_TRUE(outcome.owner_died());
  EXPECT_FALSE(condition.wait(1ms).owner_died());
  killer.join();
}

TEST(ConditionTest, MoreThanItHasRoomForAreRefusedAndTheDeadMakeRoom) {
  constexpr int kRoom = static_cast<int>(multiproc::detail::ConditionState::kSlots);
  const Condition& condition = fresh();
  {
    os_test::PlainChild crowd{[&] {
      for (int i = 0; i < kRoom; ++i) std::thread(wait_once, condition).detach();
      os_test::pause_for_ever();
    }};
    until_entered(condition, kRoom);
    const std::scoped_lock held(condition);
    EXPECT_THROW((void)condition.wait(1ms), InvalidState);
    EXPECT_TRUE(condition.is_mine());
    ::kill(crowd.pid(), SIGKILL);
    (void)crowd.wait();
    EXPECT_FALSE(condition.wait(1ms));
  }
  const Child living = waiter(condition);
  notify(condition);
  EXPECT_EQ(living->wait(), 0);
}

TEST(ConditionTest, ProducersAndConsumersLoseNothing) {
  constexpr int kItems = 5000;
  const Condition& condition = fresh();
  // word: what is in stock. returned: what was consumed.
  const auto consume = [&] {
    for (;;) {
      const std::scoped_lock held(condition);
      condition.wait([&] { return notes->word != 0; });
      if (notes->word < 0) return;
      --notes->word;
      if (++notes->returned == kItems) {
        notes->word = -1;
        condition.notify_all();
      }
    }
  };
  os_test::PlainChild first{consume};
  os_test::PlainChild second{consume};
  std::thread third(consume);
  for (int i = 0; i < kItems; ++i) {
    const std::scoped_lock held(condition);
    ++notes->word;
    condition.notify();
  }
  third.join();
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_EQ(notes->returned, kItems);
}

TEST(ConditionTest, ARefusedWakeUpIsFoundOut) {
  const Condition& condition = fresh();
  const Child sleeper = waiter(condition);
  const auto since = Clock::now();
  while (Clock::now() - since < 5ms) std::this_thread::yield();
  const os_test::Refusing refusing{"futex", EPERM, 1, 1000};

  notify(condition);

  EXPECT_EQ(sleeper->wait(), 0);
}

TEST(ConditionTest, AFailedSleepThrowsWithTheLockHeld) {
  const Condition& condition = fresh();
  const std::scoped_lock held(condition);
  {
    const os_test::Refusing refusing{"futex", EPERM, 1, 1000};
    EXPECT_THROW((void)condition.wait(1s), multiproc::SystemError);
  }
  EXPECT_TRUE(condition.is_mine());
  EXPECT_FALSE(condition.wait(1ms));
}

class ConditionInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(ConditionInProcessesTest);

void say_that_it_waits(const Condition& condition, const std::string& path) {
  const std::scoped_lock held(condition);
  support::Wire::tell(path, "waiting");
  support::Wire::tell(path, condition.wait() ? "woken" : "not woken");
}

TEST_P(ConditionInProcessesTest, TravelsWithItsLock) {
  const Condition& condition = fresh();
  const support::Wire wire;
  Process child{options(), say_that_it_waits, condition, wire.path()};
  child.start();
  EXPECT_EQ(wire.hear(), "waiting");

  notify(condition);

  EXPECT_EQ(wire.hear(), "woken");
  child.join();
  EXPECT_EQ(child.exitcode(), 0);
}

TEST_P(ConditionInProcessesTest, TravelsWithAnRLock) {
  const Condition condition = on_given_rlock;
  const support::Wire wire;
  Process child{options(), say_that_it_waits, condition, wire.path()};
  child.start();
  EXPECT_EQ(wire.hear(), "waiting");

  notify(condition);

  EXPECT_EQ(wire.hear(), "woken");
  child.join();
}

TEST_P(ConditionInProcessesTest, AKilledProcessCostsNoWakeUp) {
  const Condition& condition = fresh();
  const support::Wire wire;
  Process doomed{options(), say_that_it_waits, condition, wire.path()};
  Process living{options(), say_that_it_waits, condition, wire.path()};
  doomed.start();
  EXPECT_EQ(wire.hear(), "waiting");
  living.start();
  EXPECT_EQ(wire.hear(), "waiting");
  doomed.kill();

  notify(condition);

  EXPECT_EQ(wire.hear(), "woken");
  living.join();
  doomed.join();
  EXPECT_EQ(living.exitcode(), 0);
}

TEST(ConditionTest, ComesBackToItselfWithinAProcess) {
  const Condition& condition = fresh();
  const Condition same = multiproc::decode<Condition>(multiproc::encode(condition));
  EXPECT_EQ(same, condition);
  EXPECT_EQ(same.get_lock(), condition.get_lock());
}

}  // namespace
