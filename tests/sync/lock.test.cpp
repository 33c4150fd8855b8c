// SPDX-License-Identifier: MIT

#include <multiproc/sync/lock.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

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
using multiproc::Deadline;
using multiproc::InvalidState;
using multiproc::Lock;
using multiproc::Process;
using multiproc::os::RobustMutex;
using support::Wire;
using Clock = std::chrono::steady_clock;

static_assert(multiproc::Sendable<Lock> && !multiproc::Shareable<Lock>);
static_assert(std::is_copy_constructible_v<Lock> && std::is_copy_assignable_v<Lock>);

// The segment that small objects stand in stays for the life of the process: it is there before the first test counts
// descriptors, and no test fills it.
const Lock first_in_its_segment;

// What a test and the children that it forks have in common.
template <class T>
multiproc::detail::Shared<std::atomic<T>> shared_word(T value = {}) {
  return multiproc::detail::Shared<std::atomic<T>>::make(value);
}

// Whether another thread than the calling one can take it now.
bool is_free(const Lock& lock) {
  bool free = false;
  std::thread([&] {
    free = lock.try_lock();
    if (free) lock.unlock();
  }).join();
  return free;
}

TEST(LockTest, IsTakenByOneAtATime) {
  const Lock lock;
  EXPECT_FALSE(lock.locked());

  EXPECT_EQ(lock.lock(), Acquired::clean);
  EXPECT_TRUE(lock.locked());
  EXPECT_TRUE(lock.is_mine());
  EXPECT_FALSE(is_free(lock));

  lock.unlock();
  EXPECT_FALSE(lock.locked());
  EXPECT_FALSE(lock.is_mine());
  EXPECT_TRUE(is_free(lock));
}

TEST(LockTest, SpeaksPythonToo) {
  const Lock lock;

  EXPECT_EQ(lock.acquire(), Acquired::clean);
  EXPECT_FALSE(is_free(lock));
  lock.release();
  EXPECT_TRUE(is_free(lock));

  const bool got = lock.acquire(1s);
  EXPECT_TRUE(got);
  lock.release();
}

TEST(LockTest, ACopyNamesTheSameLock) {
  Lock lock;
  const Lock copy = lock;
  const Lock moved = std::move(lock);
  const Lock other;

  lock.lock();

  EXPECT_TRUE(copy.is_mine());
  EXPECT_TRUE(moved.is_mine());
  EXPECT_FALSE(other.locked());
  EXPECT_EQ(copy, moved);
  EXPECT_NE(copy, other);
  copy.unlock();
  EXPECT_FALSE(moved.locked());
}

TEST(LockTest, TheStandardsGuardsTakeIt) {
  Lock lock;
  {
    const std::scoped_lock guard(lock);
    EXPECT_TRUE(lock.is_mine());
  }
  {
    const std::lock_guard<Lock> guard(lock);
    EXPECT_TRUE(lock.is_mine());
  }
  {
    std::unique_lock guard(lock, std::defer_lock);
    EXPECT_FALSE(lock.locked());
    EXPECT_TRUE(guard.try_lock());
    guard.unlock();
    EXPECT_TRUE(guard.try_lock_for(1s));
    guard.unlock();
    EXPECT_TRUE(guard.try_lock_until(Clock::now() + 1s));
    guard.unlock();
    EXPECT_TRUE(guard.try_lock_until(std::chrono::system_clock::now() + 1s));
  }
  EXPECT_FALSE(lock.locked());
}

TEST(LockTest, TwoAreTakenInAnyOrderWithoutADeadlock) {
  constexpr int kRounds = 2000;
  Lock a;
  Lock b;
  const auto sum = shared_word<int>();
  const auto add = [&](Lock& first, Lock& second) {
    for (int i = 0; i < kRounds; ++i) {
      const std::scoped_lock guard(first, second);
      sum->store(sum->load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
  };

  os_test::PlainChild child{[&] { add(a, b); }};
  std::thread thread(add, std::ref(b), std::ref(a));
  add(a, b);
  thread.join();

  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(*sum, 3 * kRounds);
}

TEST(LockTest, ThreadsAndProcessesTogetherLoseNoIncrement) {
  constexpr int kRounds = 20'000;
  const Lock lock;
  const auto sum = shared_word<long>();
  const auto add = [&] {
    for (int i = 0; i < kRounds; ++i) {
      const std::scoped_lock guard(lock);
      sum->store(sum->load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
  };

  os_test::PlainChild first{[&] { std::thread(add).join(); }};
  os_test::PlainChild second{add};
  std::thread third(add);
  add();
  third.join();

  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_EQ(*sum, 4 * kRounds);
}

TEST(LockTest, ADeadlineBoundsTheWait) {
  const Lock lock;
  lock.lock();
  std::thread([&] {
    const auto began = Clock::now();
    EXPECT_EQ(lock.acquire(30ms), Acquired::timed_out);
    EXPECT_FALSE(lock.try_lock_for(30ms));
    EXPECT_FALSE(lock.try_lock_until(Clock::now() + 30ms));
    EXPECT_FALSE(lock.try_lock_until(std::chrono::system_clock::now() + 30ms));
    EXPECT_GE(Clock::now() - began, 110ms);  // the system's clock may be set forward by a little
  }).join();
  lock.unlock();
}

TEST(LockTest, APastDeadlineTriesOnce) {
  const Lock lock;
  EXPECT_TRUE(lock.acquire(Deadline::now()));
  std::thread([&] {
    EXPECT_FALSE(lock.acquire(Deadline::now()));
    EXPECT_FALSE(lock.acquire(-1h));
    EXPECT_FALSE(lock.acquire(Clock::now() - 1h));
    EXPECT_FALSE(lock.try_lock_for(0s));
    EXPECT_FALSE(lock.try_lock_until(Clock::time_point::min()));
  }).join();
  lock.unlock();
  EXPECT_TRUE(lock.acquire(-1h));
  lock.unlock();
}

TEST(LockTest, AWaitGoesOnUnderAStormOfSignals) {
  const Lock lock;
  lock.lock();
  std::thread([&] {
    const os_test::SignalStorm storm;
    const auto began = Clock::now();
    EXPECT_EQ(lock.acquire(60ms), Acquired::timed_out);
    EXPECT_GE(Clock::now() - began, 60ms);
    EXPECT_GT(os_test::SignalStorm::signals(), 5);
  }).join();
  lock.unlock();
}

TEST(LockTest, AnOwnerThatTakesItAgainForGoodIsToldOfRLock) {
  const Lock lock;
  lock.lock();

  for (const bool with_deadline : {false, true}) {
    try {
      if (with_deadline)
        (void)lock.acquire(Deadline::never());
      else
        lock.lock();
      ADD_FAILURE() << "taken twice";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), EDEADLK);
      EXPECT_NE(std::string(error.what()).find("RLock"), std::string::npos) << error.what();
    }
  }

  EXPECT_TRUE(lock.is_mine());
  lock.unlock();
}

TEST(LockTest, AnOwnerThatWaitsForItselfTimesOut) {
  const Lock lock;
  lock.lock();

  const auto began = Clock::now();
  EXPECT_EQ(lock.acquire(30ms), Acquired::timed_out);
  EXPECT_FALSE(lock.try_lock_for(90ms));
  EXPECT_GE(Clock::now() - began, 120ms);
  EXPECT_EQ(lock.acquire(-1h), Acquired::timed_out);
  EXPECT_EQ(lock.try_lock(), Acquired::timed_out);

  EXPECT_TRUE(lock.is_mine());
  lock.unlock();
  EXPECT_TRUE(is_free(lock));
}

TEST(LockTest, IsReleasedByItsOwnerAlone) {
  const Lock lock;
  EXPECT_THROW(lock.unlock(), InvalidState) << "nobody has it";
  lock.lock();
  std::thread([&] { EXPECT_THROW(lock.release(), InvalidState); }).join();
  EXPECT_TRUE(lock.is_mine());
  lock.unlock();
}

TEST(LockTest, AForkedChildDoesNotOwnWhatItsParentHolds) {
  const Lock lock;
  const auto step = shared_word<int>();
  lock.lock();

  os_test::PlainChild child{[&] {
    if (lock.is_mine() || lock.try_lock()) ::_exit(1);
    try {
      lock.unlock();
      ::_exit(2);
    } catch (const InvalidState&) {
    }
    *step = 1;
    ::_exit(lock.lock() == Acquired::clean ? 0 : 3);
  }};
  while (*step != 1) std::this_thread::yield();
  EXPECT_TRUE(lock.is_mine());
  lock.unlock();

  EXPECT_EQ(WEXITSTATUS(child.wait()), 0);
  EXPECT_EQ(lock.lock(), Acquired::owner_died);
  lock.unlock();
}

TEST(LockTest, MoreThanTheKernelHandsOnAreRefused) {
  if (support::kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer follows 64 locks of a thread";
  constexpr std::size_t kMost = RobustMutex::kMostHeld;
  const auto memory = multiproc::os::map_inheritable(kMost * sizeof(RobustMutex)).or_throw("memory");
  std::vector<RobustMutex*> held;
  for (std::size_t i = 0; i < kMost; ++i) {
    held.push_back(new (memory.bytes().data() + i * sizeof(RobustMutex)) RobustMutex);
    ASSERT_TRUE(held.back()->init());
    ASSERT_EQ(held.back()->try_lock(), multiproc::os::LockOutcome::clean);
  }
  const Lock one_more;

  EXPECT_THROW(one_more.lock(), InvalidState);
  EXPECT_THROW((void)one_more.acquire(1s), InvalidState);
  EXPECT_THROW((void)one_more.try_lock(), InvalidState);
  EXPECT_FALSE(one_more.locked());
  EXPECT_TRUE(is_free(one_more)) << "each thread has its own list";

  EXPECT_TRUE(held.back()->unlock());
  held.pop_back();
  EXPECT_EQ(one_more.lock(), Acquired::clean);
  one_more.unlock();
  for (RobustMutex* const mutex : held) EXPECT_TRUE(mutex->unlock());
}

TEST(LockTest, AThreadThatEndsWithItHandsOn) {
  const Lock lock;
  std::thread([&] { lock.lock(); }).join();

  EXPECT_EQ(lock.lock(), Acquired::owner_died);
  lock.unlock();
  EXPECT_EQ(lock.lock(), Acquired::clean);
  lock.unlock();
}

TEST(LockTest, AKilledOwnerHandsOnAndTheNextIsToldHoweverItTakes) {
  const Lock lock;
  const auto held = shared_word<int>();
  for (int way = 0; way < 4; ++way) {
    *held = 0;
    os_test::PlainChild owner{[&] {
      lock.lock();
      *held = 1;
      os_test::pause_for_ever();
    }};
    while (*held != 1) std::this_thread::yield();
    EXPECT_EQ(lock.acquire(5ms), Acquired::timed_out);
    ::kill(owner.pid(), SIGKILL);

    Acquired acquired = Acquired::timed_out;
    switch (way) {
      case 0: acquired = lock.lock(); break;  // waits for the death
      case 1: acquired = lock.acquire(support::kPatience); break;
      case 2: acquired = lock.try_lock_for(support::kPatience); break;
      default: (void)owner.wait(); acquired = lock.try_lock();
    }

    EXPECT_EQ(acquired, Acquired::owner_died);
    lock.unlock();
    EXPECT_EQ(lock.lock(), Acquired::clean) << "told twice";
    lock.unlock();
  }
}

TEST(LockTest, AStoppedOwnerKeepsIt) {
  const Lock lock;
  const auto held = shared_word<int>();
  os_test::PlainChild owner{[&] {
    lock.lock();
    *held = 1;
    while (*held != 2) std::this_thread::yield();
    lock.unlock();
  }};
  while (*held != 1) std::this_thread::yield();

  ::kill(owner.pid(), SIGSTOP);
  EXPECT_EQ(lock.acquire(120ms), Acquired::timed_out);
  *held = 2;
  ::kill(owner.pid(), SIGCONT);

  EXPECT_EQ(lock.lock(), Acquired::clean);
  lock.unlock();
  EXPECT_EQ(owner.wait(), 0);
}

TEST(LockTest, OwnersAndWaitersAreKilledAtRandomAndTheRestGoOn) {
  const Lock lock;
  const auto inside = shared_word<int>();
  const auto turns = shared_word<long>();
  const auto work = [&] {
    for (;;) {
      // Who died inside left its mark; nobody else is there.
      if (lock.lock() == Acquired::owner_died) *inside = 0;
      if (inside->exchange(1) != 0) ::_exit(1);
      turns->fetch_add(1);
      *inside = 0;
      lock.unlock();
    }
  };
  os_test::PlainChild survivor{work};

  for (int round = 0; round < 100; ++round) {
    os_test::PlainChild doomed{work};
    const long before = *turns;
    while (*turns < before + 20 + round) std::this_thread::yield();
    ::kill(doomed.pid(), SIGKILL);
    EXPECT_EQ(WTERMSIG(doomed.wait()), SIGKILL) << "two were inside at once";
  }

  const long before = *turns;
  while (*turns < before + 100) std::this_thread::yield();
  ::kill(survivor.pid(), SIGKILL);
  EXPECT_EQ(WTERMSIG(survivor.wait()), SIGKILL);
}

class LockInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(LockInProcessesTest);

TEST_P(LockInProcessesTest, TravelsAsAnArgument) {
  const Lock lock;
  const Lock gate;
  const Wire wire;
  gate.lock();
  Process child{options(),
                [](const Lock& mine, const Lock& parents, const std::string& path) {
                  const std::scoped_lock guard(mine);
                  Wire::tell(path, parents.try_lock() ? "both" : "one");
                  (void)parents.lock();
                  parents.unlock();
                },
                lock, gate, wire.path()};
  child.start();

  EXPECT_EQ(wire.hear(), "one");
  EXPECT_FALSE(lock.try_lock()) << "the child holds it";
  gate.unlock();
  child.join();

  EXPECT_EQ(child.exitcode(), 0);
  EXPECT_EQ(lock.lock(), Acquired::clean);
  lock.unlock();
}

TEST_P(LockInProcessesTest, AKilledProcessHandsOn) {
  const Lock lock;
  const Wire wire;
  Process child{options(),
                [](const Lock& mine, const std::string& path) {
                  mine.lock();
                  support::targets::tell_and_sleep(path);
                },
                lock, wire.path()};
  child.start();
  (void)wire.hear();

  child.kill();

  EXPECT_EQ(lock.lock(), Acquired::owner_died);
  lock.unlock();
  child.join();
}

TEST(LockTest, ComesBackToItselfWithinAProcess) {
  const Lock lock;
  lock.lock();

  auto message = multiproc::encode(lock);
  const Lock same = multiproc::decode<Lock>(std::move(message));

  EXPECT_EQ(same, lock);
  EXPECT_TRUE(same.is_mine());
  same.unlock();
}

}  // namespace
