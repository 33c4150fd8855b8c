// SPDX-License-Identifier: MIT
//
// Who guards the guards: this program runs itself, on tests that leak or hang on purpose, and looks at what is said.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <stdexcept>
#include <thread>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/in_child.hpp"
#include "support/leak_guard.hpp"
#include "support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

AssertionResult says(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return AssertionSuccess();
  return AssertionFailure() << "no \"" << part << "\" in:\n" << text;
}

// A test of the suite below, which is disabled for everybody else.
support::ChildResult run_spoiled(const std::string& name) {
  return support::run_program(
      "/proc/self/exe", {"--gtest_also_run_disabled_tests", "--gtest_filter=DISABLED_Spoiled." + name},
      {.env = {{"MULTIPROC_TEST_TIME_FACTOR", "0.1"}}});  // what is there to stay needn't be looked at for long
}

TEST(DISABLED_Spoiled, OpensAndForgets) {
  ASSERT_GE(::open("/dev/zero", O_RDONLY | O_CLOEXEC), 0);
}

TEST(DISABLED_Spoiled, ClosesWhatIsNotItsOwn) {
  ASSERT_EQ(::close(STDIN_FILENO), 0);
}

TEST(DISABLED_Spoiled, LeavesAZombie) {
  if (::fork() == 0) ::_exit(0);
}

TEST(DISABLED_Spoiled, LeavesAThread) {
  std::thread{[] { ::pause(); }}.detach();
}

TEST(DISABLED_Spoiled, LeavesAName) {
  const std::string name = "/dev/shm/multiproc-support-test." + std::to_string(::getpid());
  const int fd = ::open(name.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  ::close(fd);
  std::printf("name: %s\n", name.c_str());
}

TEST(DISABLED_Spoiled, HangsWithAChild) {
  const pid_t child = ::fork();
  if (child == 0) {
    for (;;) ::pause();
  }
  std::printf("child: %d\n", static_cast<int>(child));
  std::fflush(stdout);
  support::time_limit(500ms);
  for (;;) ::pause();
}

TEST(LeakGuardTest, NamesAForgottenDescriptor) {
  const auto result = run_spoiled("OpensAndForgets");

  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result.out, "is still open: /dev/zero"));
}

TEST(LeakGuardTest, NamesADescriptorThatSomebodyElseClosed) {
  const auto result = run_spoiled("ClosesWhatIsNotItsOwn");

  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result.out, "descriptor 0 was closed, but not by its owner"));
}

TEST(LeakGuardTest, NamesAnUnreapedChild) {
  const auto result = run_spoiled("LeavesAZombie");

  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result.out, ", state Z"));
}

TEST(LeakGuardTest, NamesAThread) {
  const auto result = run_spoiled("LeavesAThread");

  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result.out, "still runs"));
}

TEST(LeakGuardTest, NamesASharedMemoryName) {
  const auto result = run_spoiled("LeavesAName");
  const auto at = result.out.find("name: ");
  ASSERT_NE(at, std::string::npos) << result.out;
  const std::string name = result.out.substr(at + 6, result.out.find('\n', at) - at - 6);

  EXPECT_EQ(::unlink(name.c_str()), 0);
  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result.out, "shared memory is left: " + name));
}

TEST(WatchdogTest, EndsAHangingTestWithItsNameAndItsChildren) {
  const auto result = run_spoiled("HangsWithAChild");
  int child = 0;
  const auto at = result.out.find("child: ");
  ASSERT_NE(at, std::string::npos) << result.out;
  ASSERT_EQ(std::sscanf(result.out.c_str() + at, "child: %d", &child), 1);

  EXPECT_EQ(result.status, 124);
  EXPECT_FALSE(result.timed_out);
  EXPECT_TRUE(says(result.err, "time limit passed in DISABLED_Spoiled.HangsWithAChild"));
  EXPECT_TRUE(says(result.err, "child " + std::to_string(child)));
}

TEST(InChildTest, ReportsExitCodeAndBothStreams) {
  const auto result = support::in_child([] {
    std::printf("out");
    std::fprintf(stderr, "err");
    return 7;
  });

  EXPECT_EQ(result.status, 7);
  EXPECT_EQ(result.out, "out");
  EXPECT_EQ(result.err, "err");
  EXPECT_FALSE(result.timed_out);
}

TEST(InChildTest, ReportsASignalAsANegativeNumber) {
  EXPECT_EQ(support::in_child([] { ::raise(SIGKILL); }).status, -SIGKILL);
}

TEST(InChildTest, TakesMoreOutputThanAPipeHolds) {
  const std::string much(1 << 20, 'x');

  const auto result = support::in_child([&] {
    std::fputs(much.c_str(), stdout);
    std::fputs(much.c_str(), stderr);
  });

  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, much);
  EXPECT_EQ(result.err, much);
}

TEST(InChildTest, KillsWhatOutlivesTheLimitWithItsDescendants) {
  const auto result = support::in_child(
      [] {
        if (::fork() == 0) {
          for (;;) ::pause();
        }
        for (;;) ::pause();
      },
      {.limit = 50ms});

  EXPECT_TRUE(result.timed_out);
  EXPECT_EQ(result.status, -SIGKILL);
}

TEST(InChildTest, AnExceptionIsExitCodeOneAndText) {
  const auto result = support::in_child([] { throw std::runtime_error{"that was it"}; });

  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result.err, "that was it"));
}

TEST(InChildTest, AFailedExpectationInTheChildIsExitCodeOneAndText) {
  const auto result = support::in_child([] { EXPECT_EQ(1, 2) << "not equal"; });

  EXPECT_EQ(result.status, 1);
  EXPECT_TRUE(says(result.out, "not equal"));
}

TEST(RunProgramTest, PassesArgumentsEnvironmentFolderAndInput) {
  const auto result = support::run_program("/bin/sh", {"-c", "cat; echo $1 $GREETING; pwd", "sh", "arg"},
                                           {.input = "input\n", .env = {{"GREETING", "hello"}}, .cwd = "/proc"});

  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out, "input\narg hello\n/proc\n");
}

TEST(RunProgramTest, AMissingProgramIs127) {
  const auto result = support::run_program("/nowhere/at/all");

  EXPECT_EQ(result.status, 127);
  EXPECT_TRUE(says(result.err, "No such file"));
}

}  // namespace
