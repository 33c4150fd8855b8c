// SPDX-License-Identifier: MIT
//
// What may happen to a spawned child before its target: a parent that is gone, a constructor that crashes, somebody who
// takes the status. It is an error of start(), or nothing at all; never a target that seems to have run, never a second
// main().

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>

#include "os/fault.hpp"
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

constexpr char kCrash[] = "MULTIPROC_TEST_CRASH";       // the signal that the constructor below is to die of
constexpr char kExit[] = "MULTIPROC_TEST_EXIT";         // the code that it is to exit with
constexpr char kHolder[] = "MULTIPROC_TEST_HOLDER";     // a wire for the pid of a process that it is to leave behind
constexpr char kHere[] = "MULTIPROC_TEST_HERE";         // a wire that it is to tell its pid, and
constexpr char kGo[] = "MULTIPROC_TEST_GO";             // one that it is to wait for then
constexpr char kNoPidfd[] = "MULTIPROC_TEST_NO_PIDFD";  // anything: the kernel refuses these, wherever it is set

// Runs in spawned children before main() and its guard.
const bool constructed = [] {
  if (std::getenv(kNoPidfd) != nullptr) multiproc::os::fault::arm("pidfd_open", ENOSYS, 1, 1'000'000);
  if (const char* wire = std::getenv(kHolder); wire != nullptr && ::fork() == 0) {
    targets::tell_and_sleep(wire);
  }
  if (const char* here = std::getenv(kHere)) {
    Wire::tell(here, std::to_string(::getpid()));
    (void)Wire::hear(std::getenv(kGo));
  }
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

// What the child started holds its end of the socket, and nobody will ever make room in it.
TEST(BirthTest, WhoeverHoldsTheSocketOfAKilledChildDoesNotHoldUpTheStart) {
  const auto result = in_child([] {
    support::adopt_orphans();
    const Wire wire;
    Process child{
        {.start_method = StartMethod::spawn, .env = {{kHolder, wire.path()}, {kCrash, std::to_string(SIGKILL)}}},
        [](const std::string&) {},
        std::string(std::size_t{16} << 20, 'x')};

    child.start();

    child.join();
    EXPECT_EQ(child.exitcode(), -SIGKILL);
    const long holder = wire.hear_number();
    EXPECT_TRUE(support::Witness(holder).is_alive()) << "nobody held the socket: this test tests nothing";
    ::kill(static_cast<pid_t>(holder), SIGKILL);
    EXPECT_EQ(support::reap_all(), 1);
  });
  EXPECT_FALSE(result.timed_out) << "start() waits for room that nobody makes";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(BirthTest, ATimeoutPassesWhileALargeArgumentIsSentToAChildThatDoesNotRead) {
  const Wire here;
  const Wire never;
  Process child{{.start_method = StartMethod::spawn,
                 .env = {{kHere, here.path()}, {kGo, never.path()}},
                 .start_timeout = support::scaled(300ms)},
                [](const std::string&) {},
                std::string(std::size_t{16} << 20, 'x')};

  EXPECT_THROW(child.start(), multiproc::TimeoutError);

  EXPECT_FALSE(child.is_alive());
}

int sockets_here() {
  int count = 0;
  for (const int fd : support::open_descriptors()) {
    char target[16]{};
    (void)!::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), target, sizeof target - 1);
    count += std::string_view(target).starts_with("socket:") ? 1 : 0;
  }
  return count;
}

// It may live on for long, and would keep either side of that start from seeing the other's end.
TEST(BirthTest, AChildThatIsForkedDuringAStartKeepsNothingOfItsSocket) {
  const int before = sockets_here();
  const Wire here;
  const Wire go;
  std::thread starter{[&] {
    Process child{{.start_method = StartMethod::spawn, .env = {{kHere, here.path()}, {kGo, go.path()}}},
                  targets::nothing};
    child.start();
    child.join();
    EXPECT_EQ(child.exitcode(), 0);
  }};
  (void)here.hear();
  EXPECT_GE(sockets_here(), before + 1);  // and the child's end, if the child was quicker than the starter

  const pid_t plain = ::fork();
  if (plain == 0) ::_exit(sockets_here() - before);
  int status = -1;
  ::waitpid(plain, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);

  Process sibling{{.start_method = StartMethod::fork}, [before] { ::_exit(sockets_here() - before); }};
  sibling.start();
  sibling.join();
  EXPECT_EQ(sibling.exitcode(), 0);

  go.tell("go");
  starter.join();
}

TEST(BirthTest, ManyThreadsMayStartAtOnce) {
  std::vector<std::thread> starters;
  for (int number = 0; number < 4; ++number) {
    starters.emplace_back([number] {
      for (int round = 0; round < 5; ++round) {
        Process child{{.start_method = StartMethod::spawn}, targets::exit_with, 10 * number + round};
        child.start();
        child.join();
        EXPECT_EQ(child.exitcode(), 10 * number + round);
      }
    });
  }
  for (std::thread& starter : starters) starter.join();
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

TEST(BirthTest, WithoutPidfdsAllThisIsSeenToo) {
  const auto result = support::run_program("/proc/self/exe", {"--gtest_filter=BirthTest.*Crash*:BirthTest.Whoever*"},
                                           {.limit = 60s, .env = {{kNoPidfd, "1"}}});

  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("[  PASSED  ] 3 tests."), std::string::npos) << result.out;
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

// Until `pid` waits in poll(2) for the start message, as far as the kernel says so.
void wait_until_it_polls(long pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/syscall";
  for (std::string call; call != std::to_string(SYS_ppoll); std::this_thread::yield()) {
    std::ifstream file(path);
    if (!(file >> call)) return;
  }
}

// Nothing tells such a child that its parent is gone: the socket stays open, and it has no pidfd to wait for.
TEST(LateOrphanTest, AChildThatHearsNoEndOfItsParentLooksForIt) {
  const auto result = in_child(
      [] {
        support::adopt_orphans();
        const Wire here;
        const Wire go;
        const Wire pids;
        const pid_t parent = ::fork();
        if (parent == 0) {
          std::thread{[&] {
            Process child{
                {.start_method = StartMethod::spawn, .env = {{kHere, here.path()}, {kGo, go.path()}, {kNoPidfd, "1"}}},
                [](const std::string&) {},
                std::string(std::size_t{16} << 20, 'x')};
            child.start();
          }}.detach();
          const std::string child = here.hear();
          const long holder = ::syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);  // which closes nothing
          if (holder == 0) targets::sleep_for_ever();
          pids.tell(child);
          pids.tell(std::to_string(holder));
          targets::sleep_for_ever();
        }
        const long pid = pids.hear_number();
        const support::Witness child(pid);
        const support::Witness holder(pids.hear_number());
        ::kill(parent, SIGSTOP);  // so that the message never becomes whole
        go.tell("go");
        wait_until_it_polls(pid);

        ::kill(parent, SIGKILL);

        EXPECT_TRUE(child.ends());
        EXPECT_TRUE(holder.is_alive()) << "nobody held the socket: this test tests nothing";
        child.kill();
        holder.kill();
        EXPECT_EQ(support::reap_all(), 3);
      },
      {.limit = 60s});
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
