// SPDX-License-Identifier: MIT

#include <multiproc/os/robust_mutex.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <new>
#include <optional>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <multiproc/os/memory.hpp>

#include "os/os_test.hpp"
#include "support/sanitized.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;
using multiproc::Deadline;
using Clock = std::chrono::steady_clock;

// Mutexes and a word in memory that is shared with forked children.
class RobustMutexTest : public testing::Test {
 protected:
  RobustMutexTest() {
    EXPECT_TRUE(mutex_.init());
    EXPECT_TRUE(other_.init());
  }

  // A child that has the mutex, and does with it what it is told to by its end.
  template <class Then>
  void hold_in_child(Then then, std::optional<os_test::PlainChild>& child) {
    child.emplace([&] {
      if (mutex_.lock(Deadline::never()) == LockOutcome::unusable) ::_exit(1);
      word_ = 1;
      then();
    });
    while (word_ != 1) std::this_thread::yield();
  }

  Mapping memory_ = map_inheritable(4096).or_throw("memory");
  RobustMutex& mutex_ = *new (memory_.bytes().data()) RobustMutex;
  RobustMutex& other_ = *new (memory_.bytes().data() + 64) RobustMutex;
  std::atomic<int>& word_ = *new (memory_.bytes().data() + 128) std::atomic<int>{0};
};

TEST_F(RobustMutexTest, ItsMakingCanBeRefused) {
  os_test::expect_each_refusal("pthread_mutex_init", {ENOMEM, EPERM, ENOTSUP}, [&] { return mutex_.init(); });
}

TEST_F(RobustMutexTest, KnowsWhetherItIsHeldAndByWhom) {
  EXPECT_FALSE(mutex_.is_held());
  EXPECT_FALSE(mutex_.is_mine());

  EXPECT_EQ(mutex_.try_lock(), LockOutcome::clean);
  EXPECT_TRUE(mutex_.is_held());
  EXPECT_TRUE(mutex_.is_mine());
  std::thread([&] {
    EXPECT_TRUE(mutex_.is_held());
    EXPECT_FALSE(mutex_.is_mine());
  }).join();

  EXPECT_TRUE(mutex_.unlock());
  EXPECT_FALSE(mutex_.is_held());
  EXPECT_FALSE(mutex_.is_mine());
}

TEST_F(RobustMutexTest, TellsItsOwnerThatItIsTheOwner) {
  ASSERT_EQ(mutex_.lock(Deadline::never()), LockOutcome::clean);

  EXPECT_EQ(mutex_.lock(Deadline::never()), LockOutcome::mine);
  EXPECT_EQ(mutex_.lock(Deadline::now()), LockOutcome::mine);
  EXPECT_EQ(mutex_.try_lock(), LockOutcome::mine);

  EXPECT_TRUE(mutex_.unlock());
}

TEST_F(RobustMutexTest, IsUnlockedByItsOwnerAlone) {
  EXPECT_FALSE(mutex_.unlock()) << "nobody owns it";
  ASSERT_EQ(mutex_.try_lock(), LockOutcome::clean);

  std::thread([&] { EXPECT_FALSE(mutex_.unlock()); }).join();
  os_test::PlainChild child{[&] { ::_exit(mutex_.unlock() || mutex_.is_mine() ? 1 : 0); }};
  EXPECT_EQ(child.wait(), 0) << "a forked child owns what its parent holds";

  EXPECT_TRUE(mutex_.is_mine());
  EXPECT_TRUE(mutex_.unlock());
}

TEST_F(RobustMutexTest, WaitsUntilItsDeadlineAndNotLess) {
  std::optional<os_test::PlainChild> owner;
  hold_in_child(os_test::pause_for_ever, owner);
  const auto began = Clock::now();

  EXPECT_EQ(mutex_.lock(80ms), LockOutcome::busy);  // longer than one look

  EXPECT_GE(Clock::now() - began, 80ms);
  EXPECT_EQ(mutex_.lock(Deadline::now()), LockOutcome::busy);
  EXPECT_EQ(mutex_.lock(-1s), LockOutcome::busy);
  EXPECT_EQ(mutex_.try_lock(), LockOutcome::busy);
}

TEST_F(RobustMutexTest, WaitsOnUnderAStormOfSignals) {
  std::optional<os_test::PlainChild> owner;
  hold_in_child(os_test::pause_for_ever, owner);
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_EQ(mutex_.lock(60ms), LockOutcome::busy);

  EXPECT_GE(Clock::now() - began, 60ms);
  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST_F(RobustMutexTest, AKilledOwnerHandsOnToThoseWhoWaitAndOneOfThemIsTold) {
  std::optional<os_test::PlainChild> owner;
  hold_in_child(os_test::pause_for_ever, owner);
  std::atomic<int> told{0};
  std::vector<std::thread> waiters;
  for (int i = 0; i < 3; ++i) {
    waiters.emplace_back([&] {
      const LockOutcome outcome = mutex_.lock(Deadline::never());
      if (outcome == LockOutcome::owner_died) ++told;
      EXPECT_TRUE(outcome == LockOutcome::owner_died || outcome == LockOutcome::clean);
      EXPECT_TRUE(mutex_.unlock());
    });
  }

  ::kill(owner->pid(), SIGKILL);

  for (std::thread& waiter : waiters) waiter.join();
  EXPECT_EQ(told, 1);
  EXPECT_FALSE(mutex_.is_held());
}

TEST_F(RobustMutexTest, AnyEndOfTheOwnerCounts) {
  for (const bool by_exec : {false, true}) {
    word_ = 0;
    std::optional<os_test::PlainChild> owner;
    hold_in_child(
        [&] {
          if (by_exec) ::execl("/bin/true", "true", nullptr);
          ::_exit(0);
        },
        owner);

    EXPECT_EQ(mutex_.lock(Deadline::never()), LockOutcome::owner_died);
    EXPECT_TRUE(mutex_.unlock());
  }

  std::thread([&] { EXPECT_EQ(mutex_.lock(Deadline::never()), LockOutcome::clean); }).join();
  EXPECT_EQ(mutex_.lock(Deadline::never()), LockOutcome::owner_died);
  EXPECT_TRUE(mutex_.unlock());
}

TEST_F(RobustMutexTest, AnOwnerThatWasToldAndIsKilledItselfIsReportedToo) {
  for (int round = 0; round < 3; ++round) {
    word_ = 0;
    std::optional<os_test::PlainChild> owner;
    hold_in_child(os_test::pause_for_ever, owner);
    ::kill(owner->pid(), SIGKILL);
    (void)owner->wait();
  }

  EXPECT_EQ(mutex_.try_lock(), LockOutcome::owner_died);
  EXPECT_TRUE(mutex_.unlock());
  EXPECT_EQ(mutex_.try_lock(), LockOutcome::clean);
  EXPECT_TRUE(mutex_.unlock());
}

TEST_F(RobustMutexTest, KilledWaitersCostNothing) {
  for (int round = 0; round < 50; ++round) {
    ASSERT_EQ(mutex_.lock(Deadline::never()), LockOutcome::clean);
    word_ = 0;
    os_test::PlainChild doomed{[&] {
      word_ = 1;
      (void)mutex_.lock(Deadline::never());
      os_test::pause_for_ever();
    }};
    os_test::PlainChild living{
        [&] { ::_exit(mutex_.lock(Deadline::never()) == LockOutcome::unusable || !mutex_.unlock() ? 1 : 0); }};
    while (word_ != 1) std::this_thread::yield();

    // At any point of its way: before it waits, while it does, when it has just been woken, when it owns the mutex.
    if (round % 2 == 0) ::kill(doomed.pid(), SIGKILL);
    EXPECT_TRUE(mutex_.unlock());
    ::kill(doomed.pid(), SIGKILL);

    EXPECT_EQ(living.wait(), 0);
    (void)doomed.wait();
    const LockOutcome after = mutex_.lock(Deadline::never());
    EXPECT_TRUE(after == LockOutcome::clean || after == LockOutcome::owner_died);
    EXPECT_TRUE(mutex_.unlock());
  }
}

TEST_F(RobustMutexTest, AForkedChildStartsWithNothing) {
  ASSERT_EQ(mutex_.try_lock(), LockOutcome::clean);
  ASSERT_TRUE(mutex_.is_mine());

  os_test::PlainChild child{[&] {
    if (mutex_.try_lock() != LockOutcome::busy) ::_exit(1);
    if (other_.try_lock() != LockOutcome::clean || !other_.is_mine()) ::_exit(2);
    ::_exit(0);  // with the other one, which the kernel takes from it
  }};
  EXPECT_EQ(WEXITSTATUS(child.wait()), 0);

  EXPECT_TRUE(mutex_.is_mine());
  EXPECT_TRUE(mutex_.unlock());
  EXPECT_EQ(other_.try_lock(), LockOutcome::owner_died);
  EXPECT_TRUE(other_.unlock());
}

// As many as the kernel hands on, and not one more.
TEST_F(RobustMutexTest, AThreadThatHoldsAllItMayHandsAllOn) {
  if (support::kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer follows 64 locks of a thread";
  constexpr std::size_t kMost = RobustMutex::kMostHeld;
  const Mapping memory = map_inheritable(kMost * sizeof(RobustMutex)).or_throw("memory");
  const auto at = [&](std::size_t i) {
    return std::launder(reinterpret_cast<RobustMutex*>(memory.bytes().data() + i * sizeof(RobustMutex)));
  };
  for (std::size_t i = 0; i < kMost; ++i) ASSERT_TRUE((new (at(i)) RobustMutex)->init());

  os_test::PlainChild owner{[&] {
    for (std::size_t i = 0; i < kMost; ++i) {
      if (at(i)->try_lock() != LockOutcome::clean) ::_exit(1);
    }
    if (mutex_.try_lock() != LockOutcome::too_many || mutex_.lock(Deadline::never()) != LockOutcome::too_many) {
      ::_exit(2);
    }
    if (at(0)->try_lock() != LockOutcome::mine) ::_exit(3);
    os_test::PlainChild grandchild{
        [&] { ::_exit(mutex_.try_lock() == LockOutcome::clean && mutex_.unlock() ? 0 : 1); }};
    if (grandchild.wait() != 0) ::_exit(4);
    if (!at(7)->unlock() || mutex_.try_lock() != LockOutcome::clean) ::_exit(5);
    ::_exit(0);
  }};
  EXPECT_EQ(WEXITSTATUS(owner.wait()), 0);

  for (std::size_t i = 0; i < kMost; ++i) {
    if (i == 7) continue;
    ASSERT_EQ(at(i)->try_lock(), LockOutcome::owner_died) << i;
    ASSERT_TRUE(at(i)->unlock());
  }
  EXPECT_EQ(mutex_.try_lock(), LockOutcome::owner_died);
  EXPECT_TRUE(mutex_.unlock());
}

TEST_F(RobustMutexTest, MemoryThatHoldsNoMutexIsReported) {
  if (support::kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer reports the use of it";
  std::memset(static_cast<void*>(&mutex_), 0x7f, sizeof(mutex_));

  EXPECT_EQ(mutex_.try_lock(), LockOutcome::unusable);
  EXPECT_EQ(mutex_.lock(Deadline::never()), LockOutcome::unusable);
  EXPECT_FALSE(mutex_.unlock());
}

}  // namespace
