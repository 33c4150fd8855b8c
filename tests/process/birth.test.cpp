// SPDX-License-Identifier: MIT
//
// What may happen to a spawned child before its target: a parent that is gone, a constructor that crashes, somebody who
// takes the status. It is an error of start(), or nothing at all; never a target that seems to have run, never a second
// main().

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>

#include "process/wire.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::LaunchError;
using multiproc::Process;
using multiproc::ProcessOptions;
using multiproc::StartMethod;
using support::in_child;
using support::Wire;
namespace targets = support::targets;

constexpr char kCrash[] = "MULTIPROC_TEST_CRASH";  // the signal that the constructor below is to die of
constexpr char kExit[] = "MULTIPROC_TEST_EXIT";    // the code that it is to exit with

// Runs in spawned children before main() and its guard.
const bool constructed = [] {
  if (const char* signal = std::getenv(kCrash)) {
    const rlimit none{0, 0};
    ::setrlimit(RLIMIT_CORE, &none);
    ::signal(std::atoi(signal), SIG_DFL);
    ::raise(std::atoi(signal));
  }
  if (const char* code = std::getenv(kExit)) ::_exit(std::atoi(code));
  return true;
}();

ProcessOptions with(const char* variable, int value) {
  return {.name = "unborn", .start_method = StartMethod::spawn, .env = {{variable, std::to_string(value)}}};
}

// What start() throws, as text; empty when it throws nothing.
template <class Error>
std::string refusal_of(Process& child) {
  try {
    child.start();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}

TEST(BirthTest, ACrashInAStaticConstructorFailsTheStart) {
  for (const int signal : {SIGSEGV, SIGABRT, SIGBUS}) {
    Process child{with(kCrash, signal), targets::nothing};

    const std::string text = refusal_of<LaunchError>(child);

    EXPECT_NE(text.find("process 'unborn'"), std::string::npos) << text;
    EXPECT_NE(text.find(std::string("SIG") + ::sigabbrev_np(signal)), std::string::npos) << text;
    EXPECT_NE(text.find("static constructors"), std::string::npos) << text;
    EXPECT_FALSE(child.is_alive());
    EXPECT_EQ(child.pid(), 0);
  }
}

// The parent is still sending then; it is not to die of SIGPIPE, nor to wait for room that nobody will make.
TEST(BirthTest, ACrashWhileALargeArgumentIsSentFailsTheStartToo) {
  const std::string large(std::size_t{16} << 20, 'x');
  for (int round = 0; round < 5; ++round) {
    Process child{with(kCrash, SIGSEGV), [](const std::string&) {}, large};

    EXPECT_NE(refusal_of<LaunchError>(child).find("SIGSEGV"), std::string::npos);
  }
}

TEST(BirthTest, AnExitInAStaticConstructorIsAGuardThatWasNotReached) {
  for (const int code : {0, 1, 42}) {
    Process child{with(kExit, code), targets::nothing};

    const std::string text = refusal_of<multiproc::MainGuardMissing>(child);

    EXPECT_NE(text.find("exited with code " + std::to_string(code)), std::string::npos) << text;
    EXPECT_NE(text.find("multiproc::main_guard(argc, argv);"), std::string::npos) << text;
  }
}

// Its target did not run, though nobody can say why: that is no process that has ended.
TEST(BirthTest, AnEarlyEndOfWhichTheStatusIsStolenFailsTheStart) {
  const auto result = in_child([] {
    ::signal(SIGCHLD, SIG_IGN);
    for (const char* variable : {kCrash, kExit}) {
      Process child{with(variable, SIGSEGV), targets::nothing};
      const std::string text = refusal_of<LaunchError>(child);
      EXPECT_NE(text.find("process 'unborn'"), std::string::npos) << text;
      EXPECT_NE(text.find("SIGCHLD"), std::string::npos) << text;
      EXPECT_NE(text.find("multiproc::main_guard(argc, argv);"), std::string::npos) << text;
    }
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// So quick that its answer and its end come as one.
TEST(BirthTest, ATargetThatEndsAtOnceHasBeenStarted) {
  for (int round = 0; round < 100; ++round) {
    Process child{{.start_method = StartMethod::spawn}, [] { ::_exit(13); }};
    ASSERT_NO_THROW(child.start());
    child.join();
    ASSERT_EQ(child.exitcode(), 13);
  }
}

// Killed while a child is on its way: that must notice, whatever it was doing, and end without a word. The wire hears
// of every main() that is entered.
class OrphanTest : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Kinds, OrphanTest, testing::Values("plain", "daemon", "thread"),
                         [](const auto& kind) { return std::string(kind.param); });

TEST_P(OrphanTest, AChildWhoseParentIsKilledDuringTheStartIsNoSecondMain) {
  const auto result = in_child(
      [] {
        support::adopt_orphans();
        std::mt19937 random(20'260'108);
        for (int round = 0; round < 60; ++round) {
          const Wire wire;
          const std::string program = support::program("spawner");
          const pid_t parent = ::fork();
          if (parent == 0) {
            ::execl(program.c_str(), program.c_str(), GetParam(), wire.path().c_str(), nullptr);
            ::_exit(127);
          }
          ASSERT_EQ(wire.hear_number(), parent);
          std::this_thread::sleep_for(std::chrono::microseconds(random() % 8'000));

          ::kill(parent, SIGKILL);
          (void)support::reap_all();  // a second main() would never end

          EXPECT_FALSE(wire.has_something()) << "a second main() told its pid: " << wire.hear();
        }
      },
      {.limit = 20s});
  EXPECT_FALSE(result.timed_out) << "something outlived the parent";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
