// SPDX-License-Identifier: MIT

#include <multiproc/os/at_fork.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::os::at_fork;
using multiproc::os::ForkMutex;

// Handlers stay for good, so that each test runs in a process of its own.
std::array<char, 64> order{};
std::atomic<std::size_t> order_length{0};
void note(char what) {
  order[order_length++] = what;
}
std::string noted() {
  return {order.data(), order_length};
}

TEST(AtForkTest, RunsEachFunctionOnItsSideOfTheForkTheLastRegisteredOutermost) {
  const auto result = support::in_child([] {
    ASSERT_TRUE(at_fork([] { note('a'); }, [] { note('p'); }, [] { note('c'); }));
    ASSERT_TRUE(at_fork([] { note('A'); }, [] { note('P'); }, [] { note('C'); }));

    os_test::PlainChild child{[] { ::_exit(noted() == "AacC" ? 0 : 1); }};

    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(noted(), "AapP");
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(AtForkTest, AnyOfTheThreeMayBeMissing) {
  const auto result = support::in_child([] {
    ASSERT_TRUE(at_fork(nullptr, nullptr, nullptr));
    ASSERT_TRUE(at_fork(nullptr, nullptr, [] { note('c'); }));

    os_test::PlainChild child{[] { ::_exit(noted() == "c" ? 0 : 1); }};

    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(noted(), "");
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(IsSingleThreadedTest, IsCertainUntilThereWasASecondThread) {
  // In a program of its own: the frame of the tests has had a thread.
  const auto result = support::run_program(support::program("os_threads"));

  EXPECT_TRUE(result.out.starts_with("first: 1 1\nmeanwhile: 0 ")) << result.out;
  EXPECT_EQ(result.status, 0) << "a forked child did not find the mutex free";
}

TEST(ForkMutexTest, IsAMutex) {
  static ForkMutex mutex;
  [[maybe_unused]] static const bool is_enlisted_mutex = mutex.enlist();

  ASSERT_TRUE(mutex.try_lock());
  std::thread{[] { EXPECT_FALSE(mutex.try_lock()); }}.join();
  mutex.unlock();
  const std::lock_guard lock{mutex};
  std::thread{[] { EXPECT_FALSE(mutex.try_lock()); }}.join();
}

TEST(ForkMutexTest, HeldByOtherThreadsAtTheForkItIsFreeInTheChildAndItsDataWhole) {
  static ForkMutex first;
  [[maybe_unused]] static const bool is_enlisted_first = first.enlist();
  static ForkMutex second;
  [[maybe_unused]] static const bool is_enlisted_second = second.enlist();
  static int pair[2]{};  // equal whenever nobody holds `first`
  std::atomic<bool> over{false};
  const auto hammer = [&](auto& mutex, auto work) {
    while (!over) {
      const std::lock_guard lock{mutex};
      work();
    }
  };
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    hammer(first, [] {
      ++pair[0];
      std::this_thread::yield();  // so that a fork often finds it half done
      ++pair[1];
    });
  });
  threads.emplace_back([&] { hammer(second, [] { std::this_thread::yield(); }); });

  int whole = 0;
  constexpr int kForks = 200;
  for (int i = 0; i < kForks; ++i) {
    os_test::PlainChild child{[] {
      // try_lock: a mutex that another thread holds has no other thread here to give it back.
      const bool free = first.try_lock() && second.try_lock();
      ::_exit(free && pair[0] == pair[1] ? 0 : 1);
    }};
    whole += child.wait() == 0 ? 1 : 0;
  }
  over = true;
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(whole, kForks);
}

TEST(ForkMutexTest, IsUsableInParentAndChildOfAChild) {
  static ForkMutex mutex;
  [[maybe_unused]] static const bool is_enlisted_mutex = mutex.enlist();
  std::atomic<bool> over{false};
  std::thread other{[&] {
    while (!over) {
      const std::lock_guard lock{mutex};
    }
  }};

  for (int i = 0; i < 50; ++i) {
    os_test::PlainChild child{[] {
      { const std::lock_guard lock{mutex}; }
      os_test::PlainChild grandchild{[] {
        const std::lock_guard lock{mutex};
        ::_exit(7);
      }};
      ::_exit(WEXITSTATUS(grandchild.wait()));
    }};
    EXPECT_EQ(WEXITSTATUS(child.wait()), 7);
    const std::lock_guard lock{mutex};
  }
  over = true;
  other.join();
}

TEST(ForkMutexTest, ThreadsThatForkAtTheSameTimeDoNotLockEachOtherOut) {
  static ForkMutex mutex;
  [[maybe_unused]] static const bool is_enlisted_mutex = mutex.enlist();
  std::vector<std::thread> threads;
  std::atomic<int> ended{0};
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 30; ++round) {
        os_test::PlainChild child{[] { ::_exit(mutex.try_lock() ? 0 : 1); }};
        ended += child.wait() == 0 ? 1 : 0;
        const std::lock_guard lock{mutex};
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(ended, 120);
}

}  // namespace
