// SPDX-License-Identifier: MIT
//
// When the kernel refuses a child, start() says so, nothing is left behind, and the object can be started afterwards.

#include <cerrno>
#include <csignal>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>

#include "os/fault.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"
#include "support/sanitized.hpp"

namespace {

using multiproc::Process;
using multiproc::ProcessOptions;
using multiproc::StartMethod;
using support::in_child;
using support::Wire;
namespace fault = multiproc::os::fault;
namespace targets = support::targets;

struct Disarmed {
  ~Disarmed() { fault::disarm(); }
};

class LaunchFailureTest : public support::EveryStartMethod {
 protected:
  // In a process of its own: what is asked of the kernel once and remembered is asked again.
  static void refused(const char* call, int error, ProcessOptions others, const std::vector<std::string>& said) {
    const auto result = in_child([&] {
      const Disarmed at_the_end;
      const auto before = support::open_descriptors();
      others.name = "unlucky";
      Process child{options(others), targets::exit_with, 9};
      fault::arm(call, error, 1, 2);  // twice: the first pidfd_open of all only asks whether there is such a call
      try {
        child.start();
        ADD_FAILURE() << "started in spite of " << call << ": " << std::strerror(error);
      } catch (const multiproc::SystemError& failure) {
        EXPECT_EQ(failure.code().value(), error);
        const std::string text = failure.what();
        EXPECT_NE(text.find("unlucky"), std::string::npos) << text;
        EXPECT_NE(text.find(std::strerror(error)), std::string::npos) << text;
        for (const std::string& part : said) EXPECT_NE(text.find(part), std::string::npos) << part << " in: " << text;
      }
      fault::disarm();
      EXPECT_EQ(support::open_descriptors(), before);
      EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
      EXPECT_EQ(child.pid(), 0);
      EXPECT_FALSE(child.is_alive());

      child.start();
      child.join();
      EXPECT_EQ(child.exitcode(), 9);
    });
    EXPECT_EQ(result.status, 0) << call << ": " << std::strerror(error) << "\n" << result.out << result.err;
  }

  static const char* birth() { return GetParam() == StartMethod::fork ? "fork" : "posix_spawn"; }
};
MULTIPROC_EVERY_START_METHOD(LaunchFailureTest);

TEST_P(LaunchFailureTest, NoMoreProcesses) {
  refused(birth(), EAGAIN, {}, {birth(), "ulimit -u", "pids.max"});
}

TEST_P(LaunchFailureTest, NoMoreMemory) {
  refused(birth(), ENOMEM, {}, {birth()});
  if (GetParam() == StartMethod::fork) refused("fork", ENOMEM, {}, {"vm.overcommit_memory", "StartMethod::spawn"});
}

TEST_P(LaunchFailureTest, NoDescriptorLeft) {
  refused("eventfd", EMFILE, {}, {"pidfd_open", "ulimit -n"});
  refused("pidfd_open", EMFILE, {.cpus = {0}}, {"pidfd_open", "ulimit -n"});  // without options a fork does without
  refused("eventfd", ENFILE, {}, {"fs.file-max"});
  refused("open", EMFILE, {.cwd = "/"}, {"ulimit -n"});
  if (GetParam() == StartMethod::spawn) refused("socketpair", EMFILE, {}, {"socketpair", "ulimit -n"});
  if (GetParam() == StartMethod::fork) refused("pipe2", EMFILE, {.cpus = {0}}, {"pipe2", "ulimit -n"});
}

TEST_P(LaunchFailureTest, AnOptionThatIsRefusedInTheChild) {
  if (GetParam() == StartMethod::spawn) GTEST_SKIP() << "faults are not inherited by a fresh image";
  refused("sched_setaffinity", EPERM, {.cpus = {0}}, {"sched_setaffinity", "ProcessOptions::cpus"});
  refused("setrlimit", EPERM, {.limits = {.cpu_seconds = 5}}, {"setrlimit(RLIMIT_CPU)", "ulimit -H"});
  refused("setrlimit", EPERM, {.limits = {.memory_bytes = 1U << 30}}, {"setrlimit(RLIMIT_AS)"});
  refused("setrlimit", EPERM, {.limits = {.open_files = 200}}, {"setrlimit(RLIMIT_NOFILE)"});
  refused("fchdir", EACCES, {.cwd = "/"}, {"chdir", "'/'", "ProcessOptions::cwd"});
  refused("prctl", EPERM, {.daemon = true}, {"prctl(PR_SET_PDEATHSIG)"});
}

// Whatever call fails, and at its whichever turn: started or refused, and either way nothing is left.
TEST_P(LaunchFailureTest, EveryCallAtEveryTurn) {
  const auto result = in_child([] {
    const Disarmed at_the_end;
    const std::string cwd = "/";
    int refusals = 0;
    int starts = 0;
    const auto before = support::open_descriptors();
    for (const char* call : {"pipe2", "eventfd", "pidfd_open", "fork", "posix_spawn", "socketpair", "open", "fcntl",
                             "prctl", "setrlimit", "sched_setaffinity", "fchdir", "poll", "send", "sendmsg", "recv"}) {
      for (const int error : {EMFILE, ENOMEM, EPERM, ENOSYS, EINTR}) {
        if (error == EINTR && std::strcmp(call, "poll") != 0 && std::strcmp(call, "send") != 0 &&
            std::strcmp(call, "recv") != 0) {
          continue;
        }
        for (int turn = 1; turn <= 3; ++turn) {
          SCOPED_TRACE(std::string(call) + ", " + std::strerror(error) + ", turn " + std::to_string(turn));
          Process child{options({.daemon = turn == 2, .cpus = {0}, .limits = {.open_files = 200}, .cwd = cwd}),
                        targets::exit_with, 9};
          fault::arm(call, error, turn);
          try {
            child.start();
            ++starts;
          } catch (const std::exception& failure) {
            ++refusals;
            EXPECT_EQ(child.pid(), 0) << failure.what();
            EXPECT_EQ(support::open_descriptors(), before) << failure.what();
            EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left after: " << failure.what();
            fault::disarm();
            child.start();
          }
          fault::disarm();
          child.join();
          EXPECT_EQ(child.exitcode(), 9);
        }
      }
    }
    EXPECT_EQ(support::open_descriptors(), before);
    EXPECT_GT(refusals, 5);
    EXPECT_GT(starts, 5);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(LaunchFailureTest, AFullDescriptorTableOfTheKernelsOwn) {
  if (support::kSanitized) GTEST_SKIP() << "UBSan looks at the memory of an object through a pipe";
  const auto result = in_child([] {
    const int highest = support::open_descriptors().back();
    while (::open("/dev/null", O_RDONLY | O_CLOEXEC) < highest) {  // no gaps, so that the limit counts free ones alone
    }
    const auto before = support::open_descriptors();
    rlimit normal{};
    ::getrlimit(RLIMIT_NOFILE, &normal);
    int refusals = 0;
    int starts = 0;
    for (int room = 0; room < 24; ++room) {
      SCOPED_TRACE("room for " + std::to_string(room));
      Process child{options({.daemon = room % 2 == 1, .cwd = "/"}), targets::exit_with, 9};
      const rlimit tight{static_cast<rlim_t>(before.back() + 1 + room), normal.rlim_max};
      ::setrlimit(RLIMIT_NOFILE, &tight);
      bool started = true;
      std::string text;
      try {
        child.start();
      } catch (const multiproc::SystemError& failure) {
        started = false;
        text = failure.what();
        EXPECT_EQ(failure.code().value(), EMFILE) << text;
        EXPECT_NE(text.find("ulimit -n"), std::string::npos) << text;
      } catch (const multiproc::LaunchError& failure) {
        started = false;  // the new image had no room for its libraries
        text = failure.what();
        EXPECT_EQ(GetParam(), StartMethod::spawn) << text;
      }
      ::setrlimit(RLIMIT_NOFILE, &normal);
      ++(started ? starts : refusals);
      if (!started) {
        EXPECT_EQ(support::open_descriptors(), before) << text;
        EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "a child is left after: " << text;
        child.start();
      }
      child.join();
      EXPECT_EQ(child.exitcode(), 9);
    }
    EXPECT_GT(refusals, 0);
    EXPECT_GT(starts, 0);
    EXPECT_EQ(support::open_descriptors(), before);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(LaunchFailureOfForkTest, AFullProcessTableOfTheKernelsOwn) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become a user who has no other processes";
  const auto result = in_child([] {
    const rlimit one{1, 1};
    ::setrlimit(RLIMIT_NPROC, &one);
    ASSERT_EQ(::setreuid(65533, 65533), 0);
    Process child{{.name = "one too many", .start_method = StartMethod::fork}, targets::nothing};
    try {
      child.start();
      FAIL() << "started beyond the limit of processes";
    } catch (const multiproc::SystemError& error) {
      EXPECT_EQ(error.code().value(), EAGAIN);
      EXPECT_NE(std::string(error.what()).find("ulimit -u"), std::string::npos) << error.what();
    }
    EXPECT_EQ(child.pid(), 0);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(LaunchFailureTest, AnEnvironmentLargerThanTheKernelTakes) {
  if (GetParam() == StartMethod::fork) GTEST_SKIP() << "what is copied has no limit";
  const std::string too_long(200'000, 'x');  // MAX_ARG_STRLEN is 128 KiB
  Process child{options({.name = "verbose", .env = {{"MULTIPROC_TEST_LONG", too_long}}}), targets::nothing};
  try {
    child.start();
    FAIL() << "started with it";
  } catch (const multiproc::SystemError& error) {
    EXPECT_EQ(error.code().value(), E2BIG);
    EXPECT_NE(std::string(error.what()).find("verbose"), std::string::npos) << error.what();
  }
  EXPECT_EQ(child.pid(), 0);
}

TEST_P(LaunchFailureTest, TheArgumentsAreStillThereForTheNextTry) {
  const Disarmed at_the_end;
  const Wire wire;
  Process child{options(),
                [](const std::string& path, const std::vector<std::string>& words, std::string&& text) {
                  Wire::tell(path, words.at(1) + text);
                },
                wire.path(), std::vector<std::string>{"one", "two"}, std::string("three")};
  fault::arm(birth(), EAGAIN, 1, 2);
  EXPECT_THROW(child.start(), multiproc::SystemError);
  EXPECT_THROW(child.start(), multiproc::SystemError);

  child.start();
  child.join();

  EXPECT_EQ(wire.hear(), "twothree");
}

TEST_P(LaunchFailureTest, ASignalThatKillsTheChildAtItsBirthIsAnEndAndNoFailure) {
  // The killer ends whatever child this process has, as soon as it is there.
  const auto result = in_child([] {
    const pid_t victims_parent = ::getpid();
    const pid_t killer = ::fork();
    if (killer == 0) {
      const std::string list =
          "/proc/" + std::to_string(victims_parent) + "/task/" + std::to_string(victims_parent) + "/children";
      for (;;) {
        FILE* const file = std::fopen(list.c_str(), "re");
        int pid = 0;
        while (file != nullptr && std::fscanf(file, "%d", &pid) == 1) {
          if (pid != ::getpid()) ::kill(pid, SIGKILL);
        }
        if (file != nullptr) std::fclose(file);
      }
    }
    int killed = 0;
    for (int i = 0; i < 100; ++i) {
      Process child{options({.daemon = i % 2 == 0, .cwd = "/"}), targets::sleep_for_ever};
      child.start();
      EXPECT_GT(child.pid(), 0);
      if (i % 2 == 0) child.kill();
      child.join();
      EXPECT_EQ(child.exitcode(), -SIGKILL);
      ++killed;
    }
    ::kill(killer, SIGKILL);
    ::waitpid(killer, nullptr, 0);
    EXPECT_EQ(killed, 100);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
