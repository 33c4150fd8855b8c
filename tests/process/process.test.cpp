// SPDX-License-Identifier: MIT

#include <multiproc/process/process.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <future>
#include <iostream>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/this_process.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"
#include "support/sanitized.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::ExitStatus;
using multiproc::Process;
using multiproc::ProcessOptions;
using multiproc::StartMethod;
using support::in_child;
using support::kPatience;
using support::Wire;
using support::Witness;
namespace targets = support::targets;

class ProcessTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(ProcessTest);

bool is_readable(int fd) {
  pollfd item{fd, POLLIN, 0};
  return ::poll(&item, 1, 0) == 1;
}

TEST_P(ProcessTest, RunsItsTargetInAnotherProcess) {
  const Wire wire;
  Process child{options(), [](const std::string& path) { Wire::tell(path, std::to_string(::getpid())); }, wire.path()};

  child.start();
  child.join();

  const long told = wire.hear_number();
  EXPECT_EQ(told, child.pid());
  EXPECT_NE(told, ::getpid());
  EXPECT_EQ(child.exitcode(), 0);
  EXPECT_EQ(child.exit_status(), ExitStatus::exited_with(0));
}

TEST_P(ProcessTest, RunsNothingBeforeItIsStarted) {
  const Wire wire;

  {
    const Process child{options(), [](const std::string& path) { Wire::tell(path, "ran"); }, wire.path()};
  }

  EXPECT_FALSE(wire.has_something());
}

TEST_P(ProcessTest, JoinWaitsForTheEnd) {
  const Wire go;
  const Wire done;
  Process child{options(),
                [](const std::string& start, const std::string& end) {
                  (void)Wire::hear(start);
                  Wire::tell(end, "done");
                },
                go.path(), done.path()};
  child.start();
  go.tell("go");

  child.join();

  EXPECT_TRUE(done.has_something()) << "join() returned before the target had";
  EXPECT_FALSE(child.is_alive());
}

TEST_P(ProcessTest, JoinMayBeCalledAgain) {
  Process child{options(), targets::exit_with, 3};
  child.start();

  child.join();
  child.join();
  EXPECT_TRUE(child.join(0ms));

  EXPECT_EQ(child.exitcode(), 3);
}

TEST_P(ProcessTest, JoinGivesUpAtItsDeadlineAndNotBefore) {
  Process child{options({.daemon = true}), targets::sleep_for_ever};
  child.start();

  const auto began = std::chrono::steady_clock::now();
  EXPECT_FALSE(child.join(50ms));
  EXPECT_GE(std::chrono::steady_clock::now() - began, 50ms);

  EXPECT_TRUE(child.is_alive());
  EXPECT_EQ(child.exit_status(), std::nullopt);
  EXPECT_EQ(child.exitcode(), std::nullopt);
}

TEST_P(ProcessTest, JoinTakesATimePointADurationAndAPastDeadline) {
  Process child{options({.daemon = true}), targets::sleep_for_ever};
  child.start();

  EXPECT_FALSE(child.join(std::chrono::steady_clock::now() + 5ms));
  EXPECT_FALSE(child.join(std::chrono::steady_clock::now() - 1h));
  EXPECT_FALSE(child.join(-1s));
  EXPECT_FALSE(child.join(0s));

  child.kill();
  EXPECT_TRUE(child.join(std::chrono::hours::max()));
}

TEST_P(ProcessTest, SaysWhetherItIsAlive) {
  const Wire wire;
  Process child{options(), targets::wait_for_word, wire.path()};
  EXPECT_FALSE(child.is_alive());

  child.start();
  EXPECT_TRUE(child.is_alive());

  wire.tell("end");
  child.join();
  EXPECT_FALSE(child.is_alive());
}

TEST_P(ProcessTest, KnowsTheEndWithoutAJoin) {
  Process child{options(), targets::exit_with, 4};
  child.start();
  ASSERT_TRUE(support::Witness(child.pid()).ends());

  EXPECT_FALSE(child.is_alive());
  EXPECT_EQ(child.exitcode(), 4);
}

TEST_P(ProcessTest, HasNeitherPidNorStatusBeforeTheStart) {
  const Process child{options(), targets::nothing};

  EXPECT_EQ(child.pid(), 0);
  EXPECT_EQ(child.exit_status(), std::nullopt);
  EXPECT_EQ(child.exitcode(), std::nullopt);
  EXPECT_FALSE(child.is_alive());
}

TEST_P(ProcessTest, RefusesWhatNeedsAStartBeforeTheStart) {
  Process child{options({.name = "early"}), targets::nothing};

  EXPECT_THROW(child.join(), multiproc::InvalidState);
  EXPECT_THROW((void)child.join(0s), multiproc::InvalidState);
  EXPECT_THROW(child.terminate(), multiproc::InvalidState);
  EXPECT_THROW(child.kill(), multiproc::InvalidState);
  EXPECT_THROW(child.interrupt(), multiproc::InvalidState);
  EXPECT_THROW(child.send_signal(SIGUSR1), multiproc::InvalidState);
  EXPECT_THROW((void)child.sentinel(), multiproc::InvalidState);
  try {
    child.join();
    FAIL();
  } catch (const multiproc::InvalidState& error) {
    EXPECT_NE(std::string(error.what()).find("early"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("start()"), std::string::npos) << error.what();
  }
}

TEST_P(ProcessTest, IsStartedOnce) {
  Process child{options(), targets::exit_with, 5};
  child.start();
  EXPECT_THROW(child.start(), multiproc::InvalidState);
  child.join();

  EXPECT_THROW(child.start(), multiproc::InvalidState);

  EXPECT_EQ(child.exitcode(), 5);
}

TEST_P(ProcessTest, KeepsItsPidAfterTheEnd) {
  Process child{options(), targets::nothing};
  child.start();
  const pid_t pid = child.pid();
  child.join();

  EXPECT_EQ(child.pid(), pid);
  EXPECT_GT(pid, 0);
}

struct Signal {
  const char* name;
  int number;
  void (*send)(Process&);
};

TEST_P(ProcessTest, SendsEachSignalByItsName) {
  const Signal signals[] = {{"terminate", SIGTERM, [](Process& it) { it.terminate(); }},
                            {"kill", SIGKILL, [](Process& it) { it.kill(); }},
                            {"interrupt", SIGINT, [](Process& it) { it.interrupt(); }},
                            {"send_signal", SIGUSR2, [](Process& it) { it.send_signal(SIGUSR2); }},
                            {"real time", SIGRTMIN + 1, [](Process& it) { it.send_signal(SIGRTMIN + 1); }}};
  for (const Signal& signal : signals) {
    SCOPED_TRACE(signal.name);
    Process child{options(), targets::sleep_for_ever};
    child.start();

    signal.send(child);
    child.join();

    EXPECT_EQ(child.exit_status(), ExitStatus::killed_by(signal.number));
    EXPECT_EQ(child.exitcode(), -signal.number);
  }
}

TEST_P(ProcessTest, ASignalThatTheTargetHandlesDoesNotEndIt) {
  const Wire wire;
  Process child{options(),
                [](const std::string& path) {
                  sigset_t set;
                  sigemptyset(&set);
                  sigaddset(&set, SIGUSR1);
                  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
                  Wire::tell(path, "ready");
                  int got = 0;
                  ::sigwait(&set, &got);
                  std::exit(got == SIGUSR1 ? 42 : 1);
                },
                wire.path()};
  child.start();
  wire.hear();

  child.send_signal(SIGUSR1);
  child.join();

  EXPECT_EQ(child.exitcode(), 42);
}

TEST_P(ProcessTest, SendingToTheDeadDoesNothing) {
  Process child{options(), targets::exit_with, 6};
  child.start();
  ASSERT_TRUE(Witness(child.pid()).ends());

  child.kill();  // a zombie
  child.join();
  child.terminate();  // reaped: the pid may be a stranger's
  child.kill();

  EXPECT_EQ(child.exitcode(), 6);
}

TEST_P(ProcessTest, RefusesASignalThatDoesNotExist) {
  Process child{options({.daemon = true}), targets::sleep_for_ever};
  child.start();

  EXPECT_THROW(child.send_signal(4711), multiproc::SystemError);
  EXPECT_THROW(child.send_signal(-1), multiproc::SystemError);

  EXPECT_TRUE(child.is_alive());
}

TEST_P(ProcessTest, SignalNumberZeroSendsNothing) {
  Process child{options({.daemon = true}), targets::sleep_for_ever};
  child.start();

  child.send_signal(0);

  EXPECT_FALSE(child.join(20ms));
}

TEST_P(ProcessTest, AStoppedChildIsAlive) {
  Process child{options({.daemon = true}), targets::sleep_for_ever};
  child.start();
  child.send_signal(SIGSTOP);

  EXPECT_FALSE(child.join(30ms));
  EXPECT_TRUE(child.is_alive());
  EXPECT_FALSE(is_readable(child.sentinel()));

  child.kill();
  child.join();
  EXPECT_EQ(child.exitcode(), -SIGKILL);
}

TEST_P(ProcessTest, ItsSentinelBecomesReadableAtTheEndAndStaysSo) {
  const Wire wire;
  Process child{options(), targets::wait_for_word, wire.path()};
  child.start();
  const int sentinel = child.sentinel();
  EXPECT_FALSE(is_readable(sentinel));
  EXPECT_TRUE(::fcntl(sentinel, F_GETFD) & FD_CLOEXEC);

  wire.tell("end");

  pollfd item{sentinel, POLLIN, 0};
  ASSERT_EQ(::poll(&item, 1, static_cast<int>(support::scaled(kPatience).count())), 1);
  child.join();
  EXPECT_EQ(child.sentinel(), sentinel);
  EXPECT_TRUE(is_readable(sentinel)) << "a reaped child is still an ended one";
}

TEST_P(ProcessTest, CloseGivesBackWhatItHolds) {
  Process child{options(), targets::nothing};
  child.start();
  child.join();
  const int sentinel = child.sentinel();

  child.close();

  EXPECT_EQ(::fcntl(sentinel, F_GETFD), -1);
}

TEST_P(ProcessTest, RefusesToCloseWhileItIsAlive) {
  Process child{options({.daemon = true}), targets::sleep_for_ever};
  child.start();

  EXPECT_THROW(child.close(), multiproc::InvalidState);

  EXPECT_TRUE(child.is_alive());
  child.kill();
  child.join();
  EXPECT_NO_THROW(child.close());
}

TEST_P(ProcessTest, MayBeClosedWithoutAJoin) {
  Process child{options(), targets::nothing};
  child.start();
  ASSERT_TRUE(Witness(child.pid()).ends());

  child.close();  // and no zombie stays: the leak guard looks
}

TEST_P(ProcessTest, ClosedItRefusesEverything) {
  Process child{options(), targets::nothing};
  child.start();
  child.join();
  child.close();

  EXPECT_NO_THROW(child.close());
  EXPECT_THROW(child.start(), multiproc::InvalidState);
  EXPECT_THROW(child.join(), multiproc::InvalidState);
  EXPECT_THROW((void)child.join(0s), multiproc::InvalidState);
  EXPECT_THROW((void)child.is_alive(), multiproc::InvalidState);
  EXPECT_THROW((void)child.pid(), multiproc::InvalidState);
  EXPECT_THROW((void)child.exit_status(), multiproc::InvalidState);
  EXPECT_THROW((void)child.exitcode(), multiproc::InvalidState);
  EXPECT_THROW((void)child.sentinel(), multiproc::InvalidState);
  EXPECT_THROW(child.kill(), multiproc::InvalidState);
}

TEST_P(ProcessTest, MayBeClosedInsteadOfStarted) {
  Process child{options(), targets::nothing};

  child.close();

  EXPECT_THROW(child.start(), multiproc::InvalidState);
}

TEST_P(ProcessTest, MovesWhileItRuns) {
  const Wire wire;
  Process child{options({.name = "mover"}), targets::wait_for_word, wire.path()};
  child.start();
  const pid_t pid = child.pid();

  Process moved{std::move(child)};

  EXPECT_EQ(moved.pid(), pid);
  EXPECT_EQ(moved.name(), "mover");
  EXPECT_TRUE(moved.is_alive());
  wire.tell("end");
  moved.join();
  EXPECT_EQ(moved.exitcode(), 0);
}

TEST_P(ProcessTest, MovesBeforeTheStart) {
  Process child{options(), targets::exit_with, 7};

  Process moved{std::move(child)};
  moved.start();
  moved.join();

  EXPECT_EQ(moved.exitcode(), 7);
}

TEST_P(ProcessTest, MovedFromItRefusesEverything) {
  Process child{options(), targets::nothing};
  const Process moved{std::move(child)};

  EXPECT_THROW(child.start(), multiproc::InvalidState);  // NOLINT(bugprone-use-after-move): that is the question
  EXPECT_THROW(child.join(), multiproc::InvalidState);
  EXPECT_THROW((void)child.is_alive(), multiproc::InvalidState);
  EXPECT_THROW((void)child.pid(), multiproc::InvalidState);
  EXPECT_THROW((void)child.exitcode(), multiproc::InvalidState);
  EXPECT_THROW((void)child.sentinel(), multiproc::InvalidState);
  EXPECT_THROW(child.terminate(), multiproc::InvalidState);
}

TEST_P(ProcessTest, AMovedFromOneTakesANewProcess) {
  Process child{options(), targets::nothing};
  Process moved{std::move(child)};

  child = Process{options(), targets::exit_with, 8};
  child.start();
  child.join();

  EXPECT_EQ(child.exitcode(), 8);
}

TEST_P(ProcessTest, AssignmentJoinsTheProcessThatWasThere) {
  const Wire go;
  const Wire done;
  Process child{options(),
                [](const std::string& start, const std::string& end) {
                  (void)Wire::hear(start);
                  Wire::tell(end, "done");
                },
                go.path(), done.path()};
  child.start();
  go.tell("go");

  child = Process{options(), targets::nothing};

  EXPECT_TRUE(done.has_something()) << "the process that was assigned over was not waited for";
  EXPECT_EQ(child.pid(), 0);
}

TEST_P(ProcessTest, AssignmentKillsADaemonThatWasThere) {
  const Wire wire;
  Process child{options({.daemon = true}), targets::tell_and_sleep, wire.path()};
  child.start();
  const Witness daemon(wire.hear_number());

  child = Process{options(), targets::nothing};

  EXPECT_FALSE(daemon.is_alive());
}

TEST_P(ProcessTest, AssigningItToItselfChangesNothing) {
  const Wire wire;
  Process child{options(), targets::wait_for_word, wire.path()};
  child.start();

  Process& same = child;
  child = std::move(same);

  EXPECT_TRUE(child.is_alive());
  wire.tell("end");
}

TEST_P(ProcessTest, TwoThatRunMayBeSwapped) {
  Process one{options({.name = "one"}), targets::exit_with, 1};
  Process two{options({.name = "two", .daemon = true}), targets::sleep_for_ever};
  one.start();
  two.start();
  const pid_t pid = two.pid();

  std::swap(one, two);

  EXPECT_EQ(one.name(), "two");
  EXPECT_EQ(one.pid(), pid);
  EXPECT_TRUE(one.daemon());
  EXPECT_TRUE(one.is_alive());
  two.join();
  EXPECT_EQ(two.exitcode(), 1);
}

TEST_P(ProcessTest, ItsDestructorWaitsForTheTarget) {
  const Wire go;
  const Wire done;
  {
    Process child{options(),
                  [](const std::string& start, const std::string& end) {
                    (void)Wire::hear(start);
                    Wire::tell(end, "done");
                  },
                  go.path(), done.path()};
    child.start();
    go.tell("go");
  }
  EXPECT_TRUE(done.has_something());
}

TEST_P(ProcessTest, TheDestructorOfADaemonKillsIt) {
  const Wire wire;
  std::optional<Witness> daemon;
  {
    Process child{options({.daemon = true}), targets::tell_and_sleep, wire.path()};
    child.start();
    daemon.emplace(wire.hear_number());
    ASSERT_TRUE(daemon->is_alive());
  }
  EXPECT_FALSE(daemon->is_alive());
}

TEST_P(ProcessTest, TheDestructorOfAStoppedDaemonKillsItToo) {
  Process child{options({.daemon = true}), targets::sleep_for_ever};
  child.start();
  child.send_signal(SIGSTOP);
}

TEST_P(ProcessTest, LivesInAVector) {
  std::vector<Process> children;
  for (int i = 0; i < 8; ++i) {
    children.emplace_back(options(), targets::exit_with, i);
    children.back().start();
  }
  for (Process& child : children) child.join();

  for (int i = 0; i < 8; ++i) EXPECT_EQ(children[static_cast<std::size_t>(i)].exitcode(), i);
}

TEST_P(ProcessTest, InAForkedCopyItIsDead) {
  const Wire wire;
  Process child{options({.name = "original"}), targets::wait_for_word, wire.path()};
  child.start();

  const auto result = in_child([&] {
    EXPECT_THROW(child.join(), multiproc::InvalidState);
    EXPECT_THROW((void)child.join(0s), multiproc::InvalidState);
    EXPECT_THROW((void)child.is_alive(), multiproc::InvalidState);
    EXPECT_THROW((void)child.exitcode(), multiproc::InvalidState);
    EXPECT_THROW((void)child.pid(), multiproc::InvalidState);
    EXPECT_THROW((void)child.sentinel(), multiproc::InvalidState);
    EXPECT_THROW(child.kill(), multiproc::InvalidState);
    EXPECT_THROW(child.close(), multiproc::InvalidState);
    EXPECT_THROW(child.start(), multiproc::InvalidState);
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_TRUE(child.is_alive());
  wire.tell("end");
}

TEST_P(ProcessTest, AForkedCopyThatWasNotStartedCanNotBeStartedThere) {
  Process child{options(), targets::nothing};

  const auto result = in_child([&] { EXPECT_THROW(child.start(), multiproc::InvalidState); });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(ProcessTest, TheDestructorOfAForkedCopyLeavesTheProcessAlone) {
  for (const bool daemon : {false, true}) {
    SCOPED_TRACE(daemon ? "daemon" : "not a daemon");
    const Wire wire;
    auto child = std::make_unique<Process>(options({.daemon = daemon}), targets::wait_for_word, wire.path());
    child->start();

    const auto result = in_child([&] { child.reset(); });

    EXPECT_EQ(result.status, 0);
    EXPECT_TRUE(child->is_alive());
    wire.tell("end");
    child->join();
    EXPECT_EQ(child->exitcode(), 0);
  }
}

TEST_P(ProcessTest, ManyThreadsMayWaitForOneProcess) {
  const Wire wire;
  Process child{options(), targets::wait_for_word, wire.path()};
  child.start();
  std::vector<std::future<std::optional<int>>> waiters;
  for (int i = 0; i < 8; ++i) {
    waiters.push_back(std::async(std::launch::async, [&] {
      child.join();
      return child.exitcode();
    }));
  }

  wire.tell("end");

  for (auto& waiter : waiters) EXPECT_EQ(waiter.get(), 0);
}

TEST_P(ProcessTest, AThreadMayEndWhatAnotherWaitsFor) {
  Process child{options({.daemon = true}), targets::sleep_for_ever};
  child.start();
  auto waiter = std::async(std::launch::async, [&] { child.join(); });

  while (child.is_alive()) child.terminate();

  waiter.get();
  EXPECT_EQ(child.exitcode(), -SIGTERM);
}

TEST_P(ProcessTest, ThreadsStartProcessesSideBySide) {
  std::vector<std::future<int>> starters;
  for (int thread = 0; thread < 4; ++thread) {
    starters.push_back(std::async(std::launch::async, [thread] {
      int sum = 0;
      for (int i = 0; i < 10; ++i) {
        Process child{options({.daemon = i % 2 == 0}), targets::exit_with, thread};
        child.start();
        child.join();
        sum += child.exitcode().value();
      }
      return sum;
    }));
  }
  for (int thread = 0; thread < 4; ++thread) EXPECT_EQ(starters[static_cast<std::size_t>(thread)].get(), 10 * thread);
}

TEST_P(ProcessTest, AHundredRunAtOnce) {
  const Wire wire;
  std::vector<Process> children;
  for (int i = 0; i < 100; ++i) {
    children.emplace_back(options(), targets::wait_for_word, wire.path());
    children.back().start();
  }
  for (Process& child : children) EXPECT_TRUE(child.is_alive());

  for (int i = 0; i < 100; ++i) wire.tell("end");

  for (Process& child : children) {
    child.join();
    EXPECT_EQ(child.exitcode(), 0);
  }
}

TEST_P(ProcessTest, TheStatusTellsWhatTheChildUsed) {
  Process child{options(), [] {
                  std::vector<char> memory(64 << 20, 'x');
                  const auto until = std::chrono::steady_clock::now() + 50ms;
                  while (std::chrono::steady_clock::now() < until) memory[1] = static_cast<char>(memory[2] + 1);
                }};
  child.start();
  child.join();

  const ExitStatus status = child.exit_status().value();
  EXPECT_GE(status.max_rss(), 64U << 20);
  EXPECT_GT(status.cpu_time(), 1ms);
  EXPECT_LT(status.cpu_time(), 1h);
}

// The sentinel of Python is a pipe that any grandchild holds open, so that its join waits for all of them.
TEST_P(ProcessTest, JoinReturnsThoughAGrandchildSleepsOn) {
  const Wire wire;
  Process child{options(),
                [](const std::string& path) {
                  const pid_t grandchild = ::fork();
                  if (grandchild == 0) targets::sleep_for_ever();
                  Wire::tell(path, std::to_string(grandchild));
                },
                wire.path()};
  child.start();
  const Witness grandchild(wire.hear_number());

  EXPECT_TRUE(child.join(kPatience));

  EXPECT_TRUE(grandchild.is_alive());
  EXPECT_TRUE(is_readable(child.sentinel()));
  grandchild.kill();
}

TEST_P(ProcessTest, ATargetThatClosesAllItsDescriptorsIsStillAlive) {
  const Wire wire;
  Process child{options(),
                [](const std::string& path) {
                  const int fd = ::open(path.c_str(), O_RDONLY);
                  ::dup2(fd, STDIN_FILENO);
                  ::closefrom(1);
                  char byte = 0;
                  std::exit(::read(STDIN_FILENO, &byte, 1) == 1 ? 12 : 1);
                },
                wire.path()};
  child.start();

  EXPECT_FALSE(child.join(50ms));
  EXPECT_TRUE(child.is_alive());
  EXPECT_FALSE(is_readable(child.sentinel()));

  wire.tell("end");
  child.join();
  EXPECT_EQ(child.exitcode(), 12);
}

TEST_P(ProcessTest, ATargetThatBecomesAnotherProgramIsJoinedAtItsEnd) {
  Process child{options(), [] { ::execl("/bin/sh", "sh", "-c", "exit 21", nullptr); }};
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 21);
}

TEST_P(ProcessTest, TheChildReadsItsParentsStdin) {
  const auto result = in_child(
      [] {
        Process child{options(), [] {
                        std::string line;
                        std::getline(std::cin, line);
                        std::cout << "[" << line << "]";
                      }};
        child.start();
        child.join();
      },
      {.input = "a line for the child\n"});
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "[a line for the child]");
}

TEST_P(ProcessTest, AChildHoldsNoDescriptorThatItsParentHasNot) {
  const Wire wire;
  const auto list = [](const std::string& path) {  // what is open; under which numbers is a matter of timing
    std::vector<std::string> targets;
    for (const int fd : support::open_descriptors()) {
      char target[256]{};
      const ssize_t size = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1);
      targets.emplace_back(target, static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
    }
    std::sort(targets.begin(), targets.end());
    std::string all;
    for (const std::string& target : targets) all += target + " ";
    Wire::tell(path, all);
  };
  Process plain{options(), list, wire.path()};
  plain.start();
  plain.join();
  plain.close();
  const std::string expected = wire.hear();

  Process other{options({.cpus = {0}, .env = {{"A", "b"}}, .cwd = "/"}), list, wire.path()};
  other.start();
  other.join();

  EXPECT_EQ(wire.hear(), expected);
}

// The descriptor that would tell of its end can't be had, and then another thread gets it.
TEST(ProcessByForkTest, AJoinThatFoundNoDescriptorLeftStillWaitsForTheEnd) {
  if (support::kSanitized) GTEST_SKIP() << "UBSan looks at the memory of an object through a pipe";
  const auto result = in_child([] {
    int talk[2];
    ASSERT_EQ(::pipe2(talk, O_CLOEXEC), 0);
    Process child{{.start_method = StartMethod::fork}, [&] {
                    char byte = 0;
                    (void)!::read(talk[0], &byte, 1);
                    std::exit(7);
                  }};
    child.start();
    rlimit before{};
    ::getrlimit(RLIMIT_NOFILE, &before);
    const rlimit none{3, before.rlim_max};
    ::setrlimit(RLIMIT_NOFILE, &none);
    std::atomic<bool> waits{false};
    std::thread joiner([&] {
      waits = true;
      child.join();
      EXPECT_EQ(child.exitcode(), 7);
    });
    while (!waits) std::this_thread::yield();
    EXPECT_FALSE(child.join(50ms));
    ::setrlimit(RLIMIT_NOFILE, &before);
    EXPECT_TRUE(child.is_alive());
    EXPECT_FALSE(child.join(50ms));
    (void)!::write(talk[1], "x", 1);
    joiner.join();
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// A child that another thread than the main one made, and a plain fork of another thread of it: the stack and the
// thread_local objects of the first are given to others there.
TEST(ProcessByForkTest, WhoAProcessIsDoesNotHangOnTheThreadThatMadeIt) {
  const auto result = in_child([] {
    std::thread([] {
      Process child{{.name = "Ada", .start_method = StartMethod::fork}, [] {
                      std::thread([] {
                        const pid_t grandchild = ::fork();
                        if (grandchild == 0) {
                          int wrong = 0;
                          for (int i = 0; i < 20; ++i) {
                            std::thread([&] { wrong += multiproc::current_process().name() == "Ada" ? 0 : 1; }).join();
                          }
                          ::_exit(wrong == 0 ? 5 : 1);
                        }
                        int status = 0;
                        ::waitpid(grandchild, &status, 0);
                        std::exit(WIFEXITED(status) ? WEXITSTATUS(status) : 2);
                      }).join();
                    }};
      child.start();
      child.join();
      EXPECT_EQ(child.exitcode(), 5);
    }).join();
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// More than the memory that is kept together for a few.
TEST(ProcessByForkTest, HundredsMayBeThereAtOnceAndGoInAnyOrder) {
  std::vector<std::unique_ptr<Process>> all;
  for (int i = 0; i < 300; ++i) {
    const std::string padding(static_cast<std::size_t>(i), 'p');  // targets of all sizes
    all.push_back(
        std::make_unique<Process>(ProcessOptions{.name = "child " + padding, .start_method = StartMethod::fork},
                                  [i, padding, big = std::array<int, 100>{}] {
                                    std::exit(static_cast<int>(padding.size()) + big[0] == i ? i % 100 : 101);
                                  }));
  }
  std::mt19937 random(20'261'124);
  for (auto& child : all) child->start();
  std::ranges::shuffle(all, random);

  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i]->join();
    const auto number = static_cast<int>(all[i]->name().size() - std::string("child ").size());
    EXPECT_EQ(all[i]->exitcode(), number % 100);
    if (i % 3 == 0) all[i].reset();
  }
}

// The target runs out of the Process object that the child has inherited.
TEST(ProcessByForkTest, ACopyMayBeDestroyedByTheTargetThatRunsOutOfIt) {
  static std::vector<Process> all;
  const std::string captured(100, 'x');  // not inside of the string object
  all.emplace_back(ProcessOptions{.start_method = StartMethod::fork}, [captured] {
    all.clear();
    std::exit(captured == std::string(100, 'x') ? 46 : 1);
  });
  all[0].start();
  all[0].join();
  EXPECT_EQ(all[0].exitcode(), 46);
  all.clear();
}

TEST(ProcessByForkTest, ACopyOfADaemonDestroyedByItDoesNotSaveIt) {
  const Wire wire;
  const pid_t parent = ::fork();
  if (parent == 0) {
    std::thread([&] {  // where there is no signal of a main thread's death
      static auto daemon = std::make_unique<std::optional<Process>>();
      daemon->emplace(ProcessOptions{.daemon = true, .start_method = StartMethod::fork}, [&] {
        daemon->reset();
        Wire::tell(wire.path(), std::to_string(::getpid()));
        targets::sleep_for_ever();
      });
      (*daemon)->start();
    })
        .join();
    targets::sleep_for_ever();
  }
  const Witness daemon(wire.hear_number());

  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);

  EXPECT_TRUE(daemon.ends(10s));
  daemon.kill();
}

// Blocked until the child is one: before that its exit() would run the handlers of its parent.
TEST(ProcessByForkTest, ASignalRightAfterTheForkFindsAChildThatIsReady) {
  const auto result = in_child([] {
    std::atexit([] { std::printf("[handler]"); });
    std::signal(SIGTERM, [](int) { std::exit(7); });
    std::printf("[parent]");
    for (int i = 0; i < 100; ++i) {
      Process child{{.start_method = StartMethod::fork}, targets::sleep_for_ever};
      child.start();
      child.terminate();
      child.join();
      EXPECT_EQ(child.exitcode(), 7);
    }
    std::exit(testing::Test::HasFailure() ? 1 : 0);
  });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "[parent][handler]");
}

// ---- Names

TEST(ProcessNameTest, CountsFromOneInTheOrderOfConstruction) {
  const auto result = in_child([] {
    const Process first{targets::nothing};
    const Process named{{.name = "own"}, targets::nothing};
    const Process third{targets::nothing};
    EXPECT_EQ(named.name(), "own");
    const std::string number = first.name().substr(std::string("Process-").size());
    EXPECT_EQ(first.name(), "Process-" + number);
    EXPECT_EQ(third.name(), "Process-" + std::to_string(std::stoi(number) + 2));
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST_P(ProcessTest, AGrandchildIsNamedAfterItsParent) {
  const auto result = in_child([] {
    const Wire wire;
    Process child{options(),
                  [](StartMethod method, const std::string& path) {
                    const Process first{{.start_method = method}, targets::nothing};
                    Process second{{.start_method = method},
                                   [](const std::string& deeper) {
                                     const Process third{targets::nothing};
                                     Wire::tell(deeper, third.name());
                                   },
                                   path};
                    Wire::tell(path, first.name());
                    Wire::tell(path, second.name());
                    second.start();
                    second.join();
                  },
                  GetParam(), wire.path()};
    child.start();
    child.join();
    EXPECT_EQ(wire.hear(), child.name() + ":1");
    EXPECT_EQ(wire.hear(), child.name() + ":2");
    EXPECT_EQ(wire.hear(), child.name() + ":2:1");
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(ProcessTest, GrandchildrenAreNumberedWhateverTheChildIsCalled) {
  const Wire wire;
  Process child{options({.name = "worker"}),
                [](const std::string& path) {
                  const Process grandchild{targets::nothing};
                  Wire::tell(path, grandchild.name());
                },
                wire.path()};
  child.start();
  child.join();

  const std::string name = wire.hear();
  EXPECT_EQ(name.find("Process-"), 0U) << name;
  EXPECT_EQ(name.substr(name.size() - 2), ":1") << name;
}

TEST_P(ProcessTest, NestsFourDeepByMixedMethods) {
  struct Nest {
    static void level(int depth, StartMethod method, const std::string& path) {
      Wire::tell(path, std::to_string(depth));
      if (depth == 4) std::exit(40);
      const StartMethod next = method == StartMethod::fork ? StartMethod::spawn : StartMethod::fork;
      Process child{{.start_method = next}, level, depth + 1, next, path};
      child.start();
      child.join();
      std::exit(child.exitcode().value_or(99) + 1);
    }
  };
  const Wire wire;
  Process child{options(), Nest::level, 1, GetParam(), wire.path()};
  child.start();
  child.join();

  EXPECT_EQ(child.exitcode(), 43);
  for (const char* depth : {"1", "2", "3", "4"}) EXPECT_EQ(wire.hear(), depth);
}

TEST_P(ProcessTest, AChildWaitsForItsOwnChildrenAtItsEnd) {
  for (const bool by_exit : {false, true}) {
    SCOPED_TRACE(by_exit ? "std::exit" : "return");
    const Wire wire;
    Process child{options(),
                  [](StartMethod method, bool leaves_by_exit, const std::string& path) {
                    static auto* forgotten = new Process{{.start_method = method},
                                                         [](const std::string& deeper) {
                                                           std::this_thread::sleep_for(100ms);
                                                           Wire::tell(deeper, "grandchild done");
                                                         },
                                                         path};
                    forgotten->start();
                    if (leaves_by_exit) std::exit(9);
                  },
                  GetParam(), by_exit, wire.path()};
    child.start();
    child.join();

    EXPECT_TRUE(wire.has_something()) << "the child ended before its own child had";
    EXPECT_EQ(child.exitcode(), by_exit ? 9 : 0);
  }
}

}  // namespace
