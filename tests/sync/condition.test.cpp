// SPDX-License-Identifier: MIT

#include <multiproc/sync/condition.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <fstream>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/segment.hpp>

#include "os/os_test.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/sanitized.hpp"

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

// Segments that small objects stand in stay for the life of the process: that for all tests is there before the first
// one counts descriptors. The third of them has room for some 4,000 locks.
const SharedNotes notes = SharedNotes::make();
[[maybe_unused]] const Lock last_of_many = [] {
  for (int i = 0; i < 3100; ++i) (void)Lock();
  return Lock();
}();

Condition fresh() {
  notes->entered = 0;
  notes->returned = 0;
  notes->word = 0;
  return Condition();
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

void stop(const Child& child) {
  ::kill(child->pid(), SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(child->pid(), &status, WUNTRACED), child->pid());
}

void kill(const Child& child) {
  ::kill(child->pid(), SIGKILL);
  (void)child->wait();
}

// Longer than any look of those who sleep.
void let_them_look() {
  const auto since = Clock::now();
  while (Clock::now() - since < 120ms) std::this_thread::yield();
}

// Room for 63 waiters: the whole is asked for, and then half of it, and at last a page.
Condition made_with_little_room() {
  const os_test::Refusing refusing{"ftruncate", EFBIG, 1, 6};
  return fresh();
}
constexpr int kLittleRoom = 63;

TEST(ConditionTest, WakesOneWhoWaits) {
  const Condition condition = fresh();
  std::thread thread(wait_once, condition);
  until_entered(condition, 1);
  EXPECT_EQ(notes->returned, 0);

  notify(condition);

  thread.join();
  EXPECT_EQ(notes->returned, 1);
  EXPECT_FALSE(condition.get_lock().locked());
}

TEST(ConditionTest, IsALockToo) {
  const Condition condition = fresh();

  EXPECT_EQ(condition.lock(), Acquired::clean);
  EXPECT_TRUE(condition.is_mine());
  EXPECT_TRUE(condition.get_lock().is_mine());
  condition.unlock();
  EXPECT_EQ(condition.acquire(), Acquired::clean);
  condition.release();
  EXPECT_TRUE(condition.acquire(1s));
  EXPECT_TRUE(condition.locked());
  std::thread([&] {
    EXPECT_FALSE(condition.try_lock());
    EXPECT_FALSE(condition.try_lock_for(1ms));
    EXPECT_FALSE(condition.try_lock_until(std::chrono::system_clock::now() + 1ms));
  }).join();
  condition.release();
  EXPECT_FALSE(condition.locked());
  EXPECT_THROW(condition.release(), InvalidState);
  EXPECT_THROW((void)condition.get_rlock(), InvalidState);
}

TEST(ConditionTest, TakesTheGuardsThatHaveATimeLimit) {
  for (const Condition& condition : {fresh(), Condition(RLock())}) {
    std::unique_lock held(condition, 1s);
    EXPECT_TRUE(held.owns_lock());
    EXPECT_FALSE(condition.wait(held, 1ms));
    held.unlock();
    EXPECT_TRUE(held.try_lock_for(1s));
    held.unlock();
    EXPECT_TRUE(held.try_lock_until(Clock::now() + 1s));
    std::thread([&] {
      std::unique_lock other(condition, std::defer_lock);
      EXPECT_FALSE(other.try_lock_for(1ms));
      EXPECT_FALSE(other.try_lock_until(std::chrono::system_clock::now()));
    }).join();
  }
}

TEST(ConditionTest, ThousandsOfThemLeaveNothing) {
  const auto conditions_mapped = [] {
    std::ifstream maps("/proc/self/maps");
    int count = 0;
    for (std::string line; std::getline(maps, line);) {
      if (line.find("multiproc condition") != std::string::npos) ++count;
    }
    return count;
  };
  ASSERT_EQ(conditions_mapped(), 0);
  const auto before = os_test::descriptors();
  for (int i = 0; i < 3000; ++i) {
    const Condition condition;
    const std::scoped_lock held(condition);
    condition.wait(Deadline::now());
    if (i == 0) {
      EXPECT_EQ(conditions_mapped(), 1);
      EXPECT_EQ(os_test::descriptors().size(), before.size() + 1);
    }
  }
  EXPECT_EQ(conditions_mapped(), 0);
  EXPECT_EQ(os_test::descriptors(), before);
}

// As with std::condition_variable: when all are notified, it may go, and they come back without it.
TEST(ConditionTest, TheHandleMayGoBeforeThoseWhoWereNotifiedAreBack) {
  const Lock lock;
  auto condition = std::make_unique<const Condition>(lock);
  notes->entered = 0;
  std::thread thread([&] {
    const std::scoped_lock held(lock);
    ++notes->entered;
    EXPECT_TRUE(condition->wait());
  });
  until_entered(*condition, 1);
  {
    const std::scoped_lock held(lock);
    condition->notify_all();
    condition.reset();
  }
  thread.join();
}

TEST(ConditionTest, ACopyNamesTheSameCondition) {
  const Condition condition = fresh();
  const Condition other = fresh();
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
  const Lock lock;
  const Condition condition(lock);
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
  RLock lock;
  const Condition condition(lock);
  const Condition other = fresh();
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
  const Condition condition = fresh();
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
  const Condition condition = fresh();
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
  const Condition condition = fresh();
  std::thread waiting([&] {
    const std::scoped_lock held(condition);
    ++notes->entered;
    do {
      EXPECT_FALSE(condition.wait(1ms));
    } while (notes->word == 0);
    EXPECT_EQ(notes->word, 2) << "back before the lock was its own";
  });
  until_entered(condition, 1);
  condition.lock();
  notes->word = 1;
  let_them_look();
  notes->word = 2;
  condition.unlock();
  waiting.join();
}

TEST(ConditionTest, AWaitGoesOnUnderAStormOfSignals) {
  const Condition condition = fresh();
  const std::scoped_lock held(condition);
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_FALSE(condition.wait(60ms));

  EXPECT_GE(Clock::now() - began, 60ms);
  EXPECT_GT(os_test::SignalStorm::signals(), 0);
}

TEST(ConditionTest, APredicateIsAskedWithTheLockHeldUntilItIsTrue) {
  const Condition condition = fresh();
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
  const Condition condition = fresh();
  const std::scoped_lock held(condition);
  condition.notify();
  condition.notify_all();
  EXPECT_FALSE(condition.wait(5ms));
  condition.notify(0);
  EXPECT_FALSE(condition.wait(5ms));
}

TEST(ConditionTest, NotifyWithoutWaitersMakesNoSystemCall) {
  const Condition condition = fresh();
  const std::scoped_lock held(condition);
  EXPECT_FALSE(condition.wait(1ms));
  const os_test::Refusing refusing{"futex", EPERM, 1, 1000};
  for (int i = 0; i < 10; ++i) condition.notify_all();
  EXPECT_EQ(multiproc::os::fault::seen("futex"), 0);
}

TEST(ConditionTest, TheLongestWaitingIsWokenFirst) {
  const Condition condition = fresh();
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
    while (notes->word < 100 + i) std::this_thread::yield();
    ASSERT_EQ(notes->word, 100 + i) << "out of order";
    EXPECT_EQ(children[static_cast<std::size_t>(i)]->wait(), 0);
  }
}

TEST(ConditionTest, NotifyWakesAsManyAsItSaysAndTheOthersWaitOn) {
  const Condition condition = fresh();
  std::vector<Child> children;
  for (int i = 0; i < 3; ++i) children.push_back(waiter(condition));
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) threads.emplace_back(wait_once, condition);
  until_entered(condition, 5);

  notify(condition, 2);
  until_returned(2);
  let_them_look();
  EXPECT_EQ(notes->returned, 2);

  notify(condition, 100);
  until_returned(5);
  for (const Child& child : children) EXPECT_EQ(child->wait(), 0);
  for (std::thread& thread : threads) thread.join();
}

TEST(ConditionTest, NotifyAllWakesAll) {
  const Condition condition = fresh();
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
  const Condition condition = fresh();
  for (int round = 0; round < 20; ++round) {
    notes->entered = 0;
    notes->returned = 0;
    std::vector<Child> children;
    for (int i = 0; i < 5; ++i) children.push_back(waiter(condition));
    for (const std::size_t dead : {0U, 2U}) kill(children[dead]);

    notify(condition, 2);

    EXPECT_EQ(children[1]->wait(), 0);
    EXPECT_EQ(children[3]->wait(), 0);
    EXPECT_EQ(notes->returned, 2);
    notify(condition);
    EXPECT_EQ(children[4]->wait(), 0);
  }
}

TEST(ConditionTest, AThousandKilledWaitersCostNoWakeUp) {
  const Condition condition = fresh();
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
  const Condition condition = fresh();
  for (int round = 0; round < 20; ++round) {
    notes->entered = 0;
    notes->returned = 0;
    const Child doomed = waiter(condition);
    const Child heir = waiter(condition);
    stop(doomed);

    notify(condition);
    const Child late = waiter(condition);
    if (round == 0) let_them_look();
    EXPECT_EQ(notes->returned, 0) << "taken from one who is stopped";
    ::kill(doomed->pid(), SIGKILL);

    EXPECT_EQ(heir->wait(), 0);
    EXPECT_EQ(notes->returned, 1) << "the late one had no part in it";
    notify(condition);
    EXPECT_EQ(late->wait(), 0);
  }
}

TEST(ConditionTest, AWakeUpThatNobodyIsLeftForIsForgotten) {
  const Condition condition = fresh();
  const Child doomed = waiter(condition);
  stop(doomed);
  notify(condition);
  kill(doomed);

  const std::scoped_lock held(condition);
  EXPECT_FALSE(condition.wait(120ms)) << "it came after that";
}

TEST(ConditionTest, OneWhoCameBetweenTwoNotificationsHasNoPartInTheFirst) {
  const Condition& condition = fresh();
  for (int round = 0; round < 5; ++round) {
    notes->entered = 0;
    notes->returned = 0;
    const Child first = waiter(condition);
    const Child second = waiter(condition);
    const Child heir = waiter(condition);
    stop(first);
    notify(condition);
    const Child late = waiter(condition);
    notify(condition);
    EXPECT_EQ(second->wait(), 0);
    let_them_look();
    EXPECT_EQ(notes->returned, 1) << "taken from one who is stopped";

    kill(first);

    EXPECT_EQ(heir->wait(), 0);
    let_them_look();
    EXPECT_EQ(notes->returned, 2) << "the late one got it";
    notify(condition);
    EXPECT_EQ(late->wait(), 0);
  }
}

TEST(ConditionTest, OneWhoCameBetweenTwoNotificationsIsAnHeirOfTheSecondOnly) {
  const Condition& condition = fresh();
  for (int round = 0; round < 5; ++round) {
    notes->entered = 0;
    notes->returned = 0;
    const Child first = waiter(condition);
    const Child second = waiter(condition);
    stop(first);
    stop(second);
    notify(condition);
    const Child late = waiter(condition);
    notify(condition);

    kill(first);
    let_them_look();
    EXPECT_EQ(notes->returned, 0) << "the first notification was none of its";

    kill(second);
    EXPECT_EQ(late->wait(), 0);
    EXPECT_EQ(notes->returned, 1);
  }
}

TEST(ConditionTest, AWakeUpThatHasAnHeirOutlivesTheNextNotification) {
  const Condition& condition = fresh();
  for (int round = 0; round < 5; ++round) {
    notes->entered = 0;
    notes->returned = 0;
    const Child first = waiter(condition);
    const Child second = waiter(condition);
    const Child heir = waiter(condition);
    for (const Child* child : {&first, &second, &heir}) stop(*child);
    notify(condition);
    kill(first);
    const Child late = waiter(condition);

    notify(condition);

    for (const Child* child : {&second, &heir}) ::kill((*child)->pid(), SIGCONT);
    EXPECT_EQ(second->wait(), 0);
    EXPECT_EQ(heir->wait(), 0);
    let_them_look();
    EXPECT_EQ(notes->returned, 2);
    notify(condition);
    EXPECT_EQ(late->wait(), 0);
  }
}

TEST(ConditionTest, WhatNobodyMayInheritIsClearedAwayByTheNextNotification) {
  const Condition& condition = fresh();
  const Child first = waiter(condition);
  stop(first);
  notify(condition);
  const Child late = waiter(condition);
  kill(first);
  {
    const std::scoped_lock held(condition);
    condition.notify_all();
  }
  EXPECT_EQ(late->wait(), 0);
  EXPECT_EQ(notes->returned, 1);
  const std::scoped_lock held(condition);
  EXPECT_FALSE(condition.wait(120ms));
}

TEST(ConditionTest, WhoHoldsAsManyLocksAsItMayNotifiesToo) {
  if (support::kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer follows 64 locks of a thread";
  using multiproc::os::RobustMutex;
  const Condition& condition = fresh();
  const Child chosen = waiter(condition);
  const Child doomed = waiter(condition);
  const Child living = waiter(condition);
  const Child last = waiter(condition);
  stop(chosen);
  notify(condition);
  kill(doomed);
  const auto memory =
      multiproc::os::map_inheritable(RobustMutex::kMostHeld * sizeof(RobustMutex)).or_throw("memory of a test");
  std::vector<RobustMutex*> others;
  condition.lock();
  while (multiproc::os::robust_mutexes_held < RobustMutex::kMostHeld) {
    others.push_back(new (memory.bytes().data() + others.size() * sizeof(RobustMutex)) RobustMutex);
    ASSERT_TRUE(others.back()->init());
    ASSERT_EQ(others.back()->try_lock(), multiproc::os::LockOutcome::clean);
  }

  EXPECT_THROW(condition.wait(1ms), InvalidState);
  EXPECT_TRUE(condition.is_mine());
  condition.notify();
  condition.unlock();

  EXPECT_EQ(living->wait(), 0);
  kill(chosen);
  EXPECT_EQ(last->wait(), 0) << "what a dead one was given is taken over as ever";
  condition.lock();
  condition.notify_all();
  condition.unlock();
  for (RobustMutex* const other : others) (void)other->unlock();
}

TEST(ConditionTest, WaitSaysThatTheOwnerBeforeDied) {
  const Condition condition = fresh();
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
  const Condition& condition = made_with_little_room();
  {
    os_test::PlainChild crowd{[&] {
      for (int i = 0; i < kLittleRoom; ++i) std::thread(wait_once, condition).detach();
      os_test::pause_for_ever();
    }};
    until_entered(condition, kLittleRoom);
    const std::scoped_lock held(condition);
    EXPECT_THROW(condition.wait(1ms), InvalidState);
    EXPECT_TRUE(condition.is_mine());
    ::kill(crowd.pid(), SIGKILL);
    (void)crowd.wait();
    EXPECT_FALSE(condition.wait(1ms));
  }
  const Child living = waiter(condition);
  notify(condition);
  EXPECT_EQ(living->wait(), 0);
}

TEST(ConditionTest, FiveHundredWaitAtOnce) {
  constexpr int kMany = 500;
  const Condition& condition = fresh();
  std::vector<std::thread> threads;
  for (int i = 0; i < kMany; ++i) threads.emplace_back(wait_once, condition);
  until_entered(condition, kMany);

  notify(condition, 100);
  until_returned(100);
  let_them_look();
  EXPECT_EQ(notes->returned, 100);

  condition.lock();
  condition.notify_all();
  condition.unlock();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(notes->returned, kMany);
}

TEST(ConditionTest, ThereMayBeNoMemoryForOneMoreToWait) {
  const Condition& condition = fresh();
  os_test::PlainChild crowd{[&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < kLittleRoom; ++i) threads.emplace_back(wait_once, condition);  // who fill the first page
    for (std::thread& thread : threads) thread.join();
  }};
  until_entered(condition, kLittleRoom);
  condition.lock();
  for (int i = 0; i < 2; ++i) {
    const os_test::Refusing refusing{"fallocate", ENOSPC};
    EXPECT_THROW(condition.wait(1ms), multiproc::SystemError);
    EXPECT_TRUE(condition.is_mine());
  }
  {
    const os_test::Refusing refusing{"pthread_mutex_init", EAGAIN};
    EXPECT_THROW(condition.wait(1ms), multiproc::SystemError);
    EXPECT_TRUE(condition.is_mine());
  }
  EXPECT_FALSE(condition.wait(1ms));
  condition.notify_all();
  condition.unlock();
  EXPECT_EQ(crowd.wait(), 0);
  EXPECT_EQ(notes->returned, kLittleRoom);
}

TEST(ConditionTest, ThereMayBeNoMemoryForANewOne) {
  const Lock lock;
  const auto before = os_test::descriptors();
  for (const char* const call : {"memfd_create", "ftruncate", "fallocate", "mmap"}) {
    const os_test::Refusing refusing{call, ENOSPC};
    EXPECT_THROW((void)Condition(lock), multiproc::SystemError) << call;
  }
  EXPECT_EQ(os_test::descriptors(), before);
}

TEST(ConditionTest, WithoutAMemfdItServesForkedChildren) {
  const Condition condition = [] {
    const Lock lock;
    const os_test::Refusing refusing{"memfd_create", EPERM, 1, 10};
    return Condition(lock);
  }();
  notes->entered = 0;
  notes->returned = 0;
  os_test::PlainChild crowd{[&] {
    std::vector<std::thread> threads;
    for (int i = 0; i < 100; ++i) threads.emplace_back(wait_once, condition);
    for (std::thread& thread : threads) thread.join();
  }};
  until_entered(condition, 100);
  notify(condition, 100);
  EXPECT_EQ(crowd.wait(), 0);
  EXPECT_EQ(notes->returned, 100);
  EXPECT_THROW((void)multiproc::encode(condition), multiproc::Unsupported);
}

TEST(ConditionTest, WhatIsNoneIsRefusedWhenItArrives) {
  using multiproc::detail::Segment;
  EXPECT_THROW((void)multiproc::detail::condition_at({Segment::make(4096, "multiproc test"), 0}),
               multiproc::DecodeError);
  EXPECT_THROW((void)multiproc::detail::condition_at({Segment::make(4096, "multiproc test"), 4096}),
               multiproc::DecodeError);
}

TEST(ConditionTest, ProducersAndConsumersLoseNothing) {
  constexpr int kItems = 5000;
  const Condition condition = fresh();
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
  const Condition condition = fresh();
  const Child sleeper = waiter(condition);
  const auto since = Clock::now();
  while (Clock::now() - since < 5ms) std::this_thread::yield();
  const os_test::Refusing refusing{"futex", EPERM, 1, 1000};

  notify(condition);

  EXPECT_EQ(sleeper->wait(), 0);
}

TEST(ConditionTest, AFailedSleepThrowsWithTheLockHeld) {
  const Condition condition = fresh();
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
  const Condition condition = fresh();
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
  const Condition condition{RLock()};
  const support::Wire wire;
  Process child{options(), say_that_it_waits, condition, wire.path()};
  child.start();
  EXPECT_EQ(wire.hear(), "waiting");

  notify(condition);

  EXPECT_EQ(wire.hear(), "woken");
  child.join();
}

TEST_P(ConditionInProcessesTest, AKilledProcessCostsNoWakeUp) {
  const Condition condition = fresh();
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

TEST(ConditionTest, IsThereAsLongAsAnyHandleIs) {
  auto first = std::make_unique<const Condition>(fresh());
  auto parcel = multiproc::encode(*first);
  first.reset();
  const Condition condition = multiproc::decode<Condition>(std::move(parcel));
  const Child child = waiter(condition);
  notify(condition);
  EXPECT_EQ(child->wait(), 0);
}

TEST(ConditionTest, ComesBackToItselfWithinAProcess) {
  const Condition condition = fresh();
  const Condition same = multiproc::decode<Condition>(multiproc::encode(condition));
  EXPECT_EQ(same, condition);
  EXPECT_EQ(same.get_lock(), condition.get_lock());
}

}  // namespace
