// SPDX-License-Identifier: MIT

#include <multiproc/sync/rlock.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>

#include <sys/wait.h>
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
using multiproc::Acquired;
using multiproc::Deadline;
using multiproc::InvalidState;
using multiproc::Process;
using multiproc::RLock;
using support::Wire;
using Clock = std::chrono::steady_clock;

static_assert(multiproc::Sendable<RLock> && std::is_copy_constructible_v<RLock>);

using SharedInt = multiproc::detail::Shared<std::atomic<int>>;

// The segment that small objects stand in stays for the life of the process: it is there before the first test counts
// descriptors, and no test fills it.
const RLock first_in_its_segment;

bool is_free(const RLock& lock) {
  bool free = false;
  std::thread([&] {
    free = lock.try_lock();
    if (free) lock.unlock();
  }).join();
  return free;
}

TEST(RLockTest, ItsOwnerTakesItAgainAndOthersWaitForAsManyReleases) {
  const RLock lock;

  EXPECT_EQ(lock.lock(), Acquired::clean);
  EXPECT_EQ(lock.acquire(), Acquired::clean);
  EXPECT_EQ(lock.acquire(Deadline::now()), Acquired::clean);
  EXPECT_TRUE(lock.try_lock());
  EXPECT_TRUE(lock.try_lock_for(0s));
  EXPECT_TRUE(lock.try_lock_until(Clock::now()));

  for (int left = 6; left > 0; --left) {
    EXPECT_TRUE(lock.is_mine());
    EXPECT_TRUE(lock.locked());
    EXPECT_FALSE(is_free(lock)) << left;
    lock.unlock();
  }
  EXPECT_FALSE(lock.locked());
  EXPECT_TRUE(is_free(lock));
}

TEST(RLockTest, TheStandardsGuardsTakeIt) {
  RLock lock;
  RLock other;
  {
    const std::scoped_lock both(lock, other);
    const std::unique_lock again(lock, 1s);
    EXPECT_TRUE(again.owns_lock());
    EXPECT_TRUE(other.is_mine());
  }
  EXPECT_FALSE(lock.locked());
  EXPECT_FALSE(other.locked());
}

TEST(RLockTest, OneReleaseTooManyIsAnError) {
  const RLock lock;
  EXPECT_THROW(lock.unlock(), InvalidState);
  lock.lock();
  lock.lock();
  lock.unlock();
  lock.unlock();

  EXPECT_THROW(lock.release(), InvalidState);
  EXPECT_TRUE(is_free(lock));
}

TEST(RLockTest, IsReleasedByItsOwnerAlone) {
  const RLock lock;
  lock.lock();
  lock.lock();

  std::thread([&] { EXPECT_THROW(lock.unlock(), InvalidState); }).join();
  os_test::PlainChild child{[&] {
    try {
      if (lock.is_mine() || lock.try_lock()) ::_exit(1);
      lock.unlock();
    } catch (const InvalidState&) {
      ::_exit(0);
    }
    ::_exit(2);
  }};
  EXPECT_EQ(WEXITSTATUS(child.wait()), 0);

  lock.unlock();
  EXPECT_FALSE(is_free(lock)) << "another's release counted";
  lock.unlock();
  EXPECT_TRUE(is_free(lock));
}

// A child that ran no fork handlers: what this library knows of its own threads must not be what its parent knew.
TEST(RLockTest, AChildWithoutForkHandlersOwnsNothingEither) {
  if (os_test::kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer does not know _Fork";
  const RLock lock;
  lock.lock();
  lock.lock();
  ASSERT_TRUE(lock.is_mine());

  const pid_t child = ::_Fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    int refused = lock.is_mine() ? 100 : 0;
    for (int i = 0; i < 2; ++i) {
      try {
        lock.unlock();
      } catch (const InvalidState&) {
        ++refused;
      }
    }
    ::_exit(refused);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), 2);

  lock.unlock();
  EXPECT_FALSE(is_free(lock));
  lock.unlock();
  EXPECT_TRUE(is_free(lock));
}

TEST(RLockTest, ADeadlineBoundsTheWait) {
  const RLock lock;
  lock.lock();
  std::thread([&] {
    const auto began = Clock::now();
    EXPECT_EQ(lock.acquire(30ms), Acquired::timed_out);
    EXPECT_FALSE(lock.try_lock_for(30ms));
    EXPECT_GE(Clock::now() - began, 60ms);
    EXPECT_FALSE(lock.acquire(-1h));
  }).join();
  lock.unlock();
}

TEST(RLockTest, ThreadsAndProcessesTogetherLoseNoIncrement) {
  constexpr int kRounds = 10'000;
  const RLock lock;
  const auto sum = SharedInt::make(0);
  const auto add = [&] {
    for (int i = 0; i < kRounds; ++i) {
      const std::scoped_lock guard(lock);
      const std::scoped_lock again(lock);
      sum->store(sum->load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
  };

  os_test::PlainChild first{add};
  std::thread second(add);
  add();
  second.join();

  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(*sum, 3 * kRounds);
}

TEST(RLockTest, AKilledOwnerHandsOnHoweverOftenItHadIt) {
  const RLock lock;
  const auto held = SharedInt::make(0);
  os_test::PlainChild owner{[&] {
    for (int i = 0; i < 5; ++i) lock.lock();
    *held = 1;
    os_test::pause_for_ever();
  }};
  while (*held != 1) std::this_thread::yield();

  ::kill(owner.pid(), SIGKILL);

  EXPECT_EQ(lock.lock(), Acquired::owner_died);
  EXPECT_EQ(lock.lock(), Acquired::clean);
  lock.unlock();
  lock.unlock();
  EXPECT_TRUE(is_free(lock)) << "the dead one's takings still count";
}

class RLockInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(RLockInProcessesTest);

TEST_P(RLockInProcessesTest, TravelsAsAnArgument) {
  const RLock lock;
  const Wire wire;
  const Wire end;
  Process child{options(),
                [](const RLock& mine, const std::string& told, const std::string& heard) {
                  const std::scoped_lock guard(mine);
                  const std::scoped_lock again(mine);
                  Wire::tell(told, "held");
                  (void)Wire::hear(heard);
                },
                lock, wire.path(), end.path()};
  child.start();

  EXPECT_EQ(wire.hear(), "held");
  EXPECT_FALSE(lock.try_lock());
  end.tell("end");
  EXPECT_EQ(lock.lock(), Acquired::clean);
  lock.unlock();

  child.join();
  EXPECT_EQ(child.exitcode(), 0);
}

}  // namespace
