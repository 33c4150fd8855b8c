// SPDX-License-Identifier: MIT
//
// Thousands of processes, many of them killed at a moment that nobody chose, leave nothing: the leak guard compares
// descriptors, children, threads and /dev/shm before and after each of these tests.

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/process/print.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/process/this_process.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/leak_guard.hpp"
#include "support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Process;
using multiproc::ProcessOptions;
using multiproc::StartMethod;
using support::Wire;
namespace targets = support::targets;

// What a life consists of: memory taken and given back, a word to nobody in particular, an exit code.
void live(int code) {
  auto memory = std::make_unique<std::vector<int>>(1000, code);
  std::exit(memory->back());
}

void spin_until_killed() {
  const auto for_ever = std::chrono::steady_clock::time_point::max();
  while (std::chrono::steady_clock::now() < for_ever) {
  }
}

std::vector<pid_t> children_of_this_process() {
  std::vector<pid_t> found;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream pids(thread.path() / "children");
    found.insert(found.end(), std::istream_iterator<pid_t>(pids), {});
  }
  return found;
}

// An instrumented build, where a cycle takes many times as long, does fewer of them.
int scaled_down(int count) {
  return static_cast<int>(count / support::time_factor());
}

class CyclesTest : public support::EveryStartMethod {
 protected:
  static int cycles(int of_fork, int of_spawn) {
    return scaled_down(GetParam() == StartMethod::fork ? of_fork : of_spawn);
  }

  // One child: runs to its end, or is killed at a random moment of its life; by one of the signals, or by its
  // destructor.
  static void one_cycle(std::mt19937& random, StartMethod method) {
    const int code = static_cast<int>(random() % 256);
    const bool daemon = random() % 4 == 0;
    if (random() % 2 == 0) {
      Process child{{.daemon = daemon, .start_method = method}, live, code};
      child.start();
      child.join();
      ASSERT_EQ(child.exitcode(), code);
      return;
    }
    const int signal = random() % 2 == 0 ? SIGKILL : SIGTERM;
    Process child{{.daemon = daemon, .start_method = method},
                  random() % 2 == 0 ? spin_until_killed : targets::sleep_for_ever};
    child.start();
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(random() % 300);
    while (std::chrono::steady_clock::now() < until) {
    }
    if (daemon && random() % 2 == 0) return;
    child.send_signal(signal);
    child.join();
    ASSERT_EQ(child.exitcode(), -signal);
  }
};
MULTIPROC_EVERY_START_METHOD(CyclesTest);

TEST_P(CyclesTest, ThousandsWithKillsAtRandomMomentsLeaveNothing) {
  std::mt19937 random(20'260'102);
  const int count = cycles(2'000, 400);

  for (int i = 0; i < count && !HasFatalFailure(); ++i) one_cycle(random, GetParam());

  EXPECT_TRUE(multiproc::active_children().empty());
}

TEST_P(CyclesTest, ThreadsWithTheirOwnLeaveNothing) {
  std::vector<std::thread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([seed] {
      std::mt19937 random(seed);
      const int count = cycles(200, 25);
      for (int i = 0; i < count && !HasFatalFailure(); ++i) one_cycle(random, GetParam());
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_TRUE(multiproc::active_children().empty());
}

// Whatever the child was just doing: being born, running, printing, ending.
TEST_P(CyclesTest, KilledAtAnyMomentOfItsBirthAndLifeAChildLeavesNothing) {
  std::mt19937 random(20'260'103);
  const int count = cycles(500, 100);
  for (int i = 0; i < count; ++i) {
    Process child{options(),
                  [](int number) {
                    for (int line = 0; line < 3; ++line) multiproc::print(stderr, "{}", number < 0 ? "never" : "");
                  },
                  i};
    child.start();
    std::this_thread::sleep_for(std::chrono::nanoseconds(random() % 200'000));
    child.kill();
    child.join();
    const int code = child.exitcode().value();
    ASSERT_TRUE(code == 0 || code == -SIGKILL) << code;
  }
}

// By somebody else, who does not wait for start() to return: that succeeds or throws, and leaves nothing either way.
TEST_P(CyclesTest, KilledByAStrangerDuringTheStartAChildIsReported) {
  std::atomic<bool> stop{false};
  std::atomic<int> killed{0};
  std::thread stranger([&] {  // all that this process has for children
    std::mt19937 random(20'260'104);
    while (!stop) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 1'500));
      for (const pid_t pid : children_of_this_process()) {
        if (::kill(pid, SIGKILL) == 0) ++killed;
      }
    }
  });
  const int count = cycles(500, 150);
  int ended_by_it = 0;
  for (int i = 0; i < count; ++i) {
    Process child{options({.daemon = i % 2 == 0, .env = {{"A", "b"}}, .cwd = "/"}), targets::exit_with, 9};
    EXPECT_NO_THROW(child.start());
    child.join();
    const int code = child.exitcode().value();
    EXPECT_TRUE(code == 9 || code == -SIGKILL) << code;
    if (code != 9) ++ended_by_it;
  }
  stop = true;
  stranger.join();
  EXPECT_GT(killed, 0);
  EXPECT_GT(ended_by_it, 0) << "the stranger never came in time: this test tests nothing";
}

TEST_P(CyclesTest, AHundredAtOnceSomeOfThemKilledLeaveNothing) {
  std::mt19937 random(20'260'105);
  const Wire wire;
  std::vector<Process> children;
  std::vector<bool> is_to_be_killed;
  for (int i = 0; i < 100; ++i) {
    is_to_be_killed.push_back(random() % 2 == 0);
    if (is_to_be_killed.back()) {
      children.emplace_back(options(), targets::sleep_for_ever);
    } else {
      children.emplace_back(options(), targets::wait_for_word, wire.path());
    }
    children.back().start();
  }
  EXPECT_EQ(multiproc::active_children().size(), 100U);

  for (int i = 0; i < 100; ++i) {
    if (is_to_be_killed[static_cast<std::size_t>(i)]) {
      children[static_cast<std::size_t>(i)].kill();
    } else {
      wire.tell("end");
    }
  }

  for (int i = 0; i < 100; ++i) {
    Process& child = children[static_cast<std::size_t>(i)];
    child.join();
    EXPECT_EQ(child.exitcode(), is_to_be_killed[static_cast<std::size_t>(i)] ? -SIGKILL : 0);
  }
  EXPECT_TRUE(multiproc::active_children().empty());
}

// A tree of processes whose inner nodes are killed: the daemons below go with them.
TEST_P(CyclesTest, TreesOfDaemonsThatLoseTheirRootLeaveNothing) {
  std::mt19937 random(20'260'106);
  for (int i = 0; i < cycles(40, 15); ++i) {
    const Wire wire;
    Process root{options({.daemon = true}),
                 [](StartMethod method, const std::string& path) {
                   std::vector<Process> leaves;
                   for (int leaf = 0; leaf < 3; ++leaf) {
                     leaves.emplace_back(ProcessOptions{.daemon = true, .start_method = method},
                                         targets::tell_and_sleep, path);
                     leaves.back().start();
                   }
                   targets::sleep_for_ever();
                 },
                 GetParam(), wire.path()};
    root.start();
    std::vector<support::Witness> leaves;
    for (int leaf = 0; leaf < 3; ++leaf) leaves.emplace_back(wire.hear_number());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));

    root.kill();
    root.join();

    for (const support::Witness& leaf : leaves) EXPECT_TRUE(leaf.ends());
  }
}

// The count that the library is measured by; by fork, for spawning them would take half a minute.
TEST(TenThousandCyclesTest, WithRandomKillsLeaveTheProcessAsItWas) {
  const auto census = support::Census::take();
  std::mt19937 random(20'260'107);
  const int count = scaled_down(10'000);
  for (int i = 0; i < count; ++i) {
    Process child{{.daemon = i % 8 == 0, .start_method = StartMethod::fork}, targets::exit_with, i % 256};
    child.start();
    const bool kills = random() % 3 == 0;
    if (kills) child.kill();
    child.join();
    const int code = child.exitcode().value();
    ASSERT_TRUE(code == i % 256 || (kills && code == -SIGKILL)) << code;
  }
  EXPECT_EQ(support::left_over_since(census), std::vector<std::string>{});
}

}  // namespace
