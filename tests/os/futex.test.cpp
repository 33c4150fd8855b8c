// SPDX-License-Identifier: MIT

#include <multiproc/os/futex.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <multiproc/os/memory.hpp>

#include "os/os_test.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;
using multiproc::Deadline;
using Clock = std::chrono::steady_clock;
using Word = std::atomic<std::uint32_t>;

// A word in memory that is shared with forked children.
class FutexTest : public testing::Test {
 protected:
  Mapping memory_ = map_inheritable(4096).or_throw("memory");
  Word& word_ = *new (memory_.bytes().data()) Word{7};
};

// Until `count` sleepers sit on the word: a wake reaches those who sleep and nobody else, so it is repeated.
int wake_until(Word& word, int count) {
  int woken = 0;
  while (woken < count) {
    woken += futex_wake(word, count - woken).value();
    std::this_thread::yield();
  }
  return woken;
}

TEST_F(FutexTest, AWordThatMovedOnIsNotWaitedFor) {
  EXPECT_EQ(futex_wait(word_, 8, Deadline::never()).value(), WaitOutcome::value_changed);
  EXPECT_EQ(futex_wait(word_, 8, Deadline::now()).value(), WaitOutcome::value_changed);
}

TEST_F(FutexTest, ADeadlineIsATimeAndNotADuration) {
  const Deadline deadline{40ms};
  const auto began = Clock::now();

  EXPECT_EQ(futex_wait(word_, 7, deadline).value(), WaitOutcome::timed_out);
  EXPECT_GE(Clock::now(), deadline.time_point());
  // The same deadline once more has passed: no second wait of 40 ms.
  EXPECT_TRUE(deadline.passed());
  EXPECT_EQ(futex_wait(word_, 7, deadline).value(), WaitOutcome::timed_out);

  EXPECT_GE(Clock::now() - began, 40ms);
}

TEST_F(FutexTest, APastDeadlineLooksOnce) {
  EXPECT_EQ(futex_wait(word_, 7, Deadline::now()).value(), WaitOutcome::timed_out);
  EXPECT_EQ(futex_wait(word_, 7, -1h).value(), WaitOutcome::timed_out);
  EXPECT_EQ(futex_wait(word_, 7, Clock::time_point{-1ns}).value(), WaitOutcome::timed_out);
}

TEST_F(FutexTest, EndsNotEarlyAndNotNeverUnderAStormOfSignals) {
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  const auto outcome = futex_wait(word_, 7, 60ms);

  EXPECT_GE(Clock::now() - began, 60ms);
  ASSERT_TRUE(outcome) << outcome.error();
  EXPECT_EQ(outcome.value(), WaitOutcome::timed_out);
  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST_F(FutexTest, WakesAcrossProcesses) {
  os_test::PlainChild sleeper{[&] {
    const auto outcome = futex_wait(word_, 7, Deadline::never());
    ::_exit(outcome && outcome.value() == WaitOutcome::woken ? 42 : 1);
  }};

  EXPECT_EQ(wake_until(word_, 1), 1);

  EXPECT_EQ(WEXITSTATUS(sleeper.wait()), 42);
}

TEST_F(FutexTest, WakesThroughTwoMappingsOfOneBlock) {
  const Fd block = make_memory("futex", 4096).or_throw("memory");
  const Mapping here = map_shared(block.get(), 4096).or_throw("map");
  const Mapping there = map_shared(block.get(), 4096).or_throw("map");
  Word& sleeps_on = *new (here.bytes().data()) Word{1};
  Word& wakes = *reinterpret_cast<Word*>(there.bytes().data());
  std::thread sleeper{[&] { EXPECT_EQ(futex_wait(sleeps_on, 1, Deadline::never()).value(), WaitOutcome::woken); }};

  EXPECT_EQ(wake_until(wakes, 1), 1);

  sleeper.join();
}

// Threads of this process that sleep in the kernel.
int sleeping_threads() {
  int sleeping = 0;
  for (const auto& task : std::filesystem::directory_iterator{"/proc/self/task"}) {
    std::string text;
    std::getline(std::ifstream{task.path() / "stat"}, text);
    const auto name_end = text.rfind(')');
    if (name_end != text.npos && name_end + 2 < text.size() && text[name_end + 2] == 'S') ++sleeping;
  }
  return sleeping;
}

TEST_F(FutexTest, WakesNoMoreThanItWasAsked) {
  constexpr int kSleepers = 4;
  std::atomic<int> woken{0};
  std::vector<std::thread> sleepers;
  for (int i = 0; i < kSleepers; ++i) {
    sleepers.emplace_back([&] {
      if (futex_wait(word_, 7, Deadline::never()).value() == WaitOutcome::woken) ++woken;
    });
  }
  while (sleeping_threads() < kSleepers) std::this_thread::yield();

  EXPECT_EQ(futex_wake(word_, 0).value(), 0);
  EXPECT_EQ(futex_wake(word_, -1).value(), 0);
  EXPECT_EQ(woken, 0);
  int total = 0;
  while (total < kSleepers) {
    const int now = futex_wake(word_, 1).value();
    EXPECT_LE(now, 1);
    total += now;
    std::this_thread::yield();
  }

  for (std::thread& sleeper : sleepers) sleeper.join();
  EXPECT_EQ(woken, kSleepers);
  EXPECT_EQ(total, kSleepers);
}

TEST_F(FutexTest, WakesEveryoneAtOnce) {
  std::vector<std::thread> sleepers;
  for (int i = 0; i < 3; ++i) {
    sleepers.emplace_back([&] { EXPECT_TRUE(futex_wait(word_, 7, Deadline::never())); });
  }

  word_ = 8;  // who is not asleep yet will not fall asleep any more
  EXPECT_LE(futex_wake(word_, INT_MAX).value(), 3);

  for (std::thread& sleeper : sleepers) sleeper.join();
  EXPECT_EQ(futex_wake(word_, INT_MAX).value(), 0);
}

TEST_F(FutexTest, AKilledSleeperIsForgotten) {
  for (int round = 0; round < 20; ++round) {
    os_test::PlainChild doomed{[&] { (void)futex_wait(word_, 7, Deadline::never()); }};
    const std::string wchan = "/proc/" + std::to_string(doomed.pid()) + "/wchan";
    const auto sleeps = [&] {
      std::string where;
      std::ifstream{wchan} >> where;
      return where.find("futex") != std::string::npos;
    };
    // Where the kernel hides the place it is killed at any point of its way: that must do as well.
    for (int look = 0; look < 1000 && !sleeps(); ++look) std::this_thread::yield();
    ::kill(doomed.pid(), SIGKILL);
    (void)doomed.wait();

    EXPECT_EQ(futex_wake(word_, INT_MAX).value(), 0);
  }
  os_test::PlainChild living{[&] { ::_exit(futex_wait(word_, 7, Deadline::never()) ? 0 : 1); }};
  EXPECT_EQ(wake_until(word_, 1), 1);
  EXPECT_EQ(living.wait(), 0);
}

TEST_F(FutexTest, ReportsWhatTheKernelRefuses) {
  memory_ = map_inheritable(4096).or_throw("memory");  // the word's own page is gone; only its address is used below

  EXPECT_EQ(futex_wake(word_, 1).error(), EFAULT);
  EXPECT_EQ(futex_wait(word_, 7, Deadline::never()).error(), EFAULT);
}

TEST_F(FutexTest, EachRefusedCallIsReported) {
  os_test::expect_each_refusal("futex", {ENOSYS, EPERM, ENOMEM}, [&] { return futex_wait(word_, 7, 1ms); });
  os_test::expect_each_refusal("futex", {ENOSYS, EPERM}, [&] { return futex_wake(word_, 1); });
}

TEST_F(FutexTest, RepeatsWhatASignalInterrupted) {
  os_test::expect_each_repeated("futex", EINTR, [&] { return futex_wait(word_, 7, Deadline::now()); });
}

}  // namespace
