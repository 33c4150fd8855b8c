// SPDX-License-Identifier: MIT
//
// Programs and kernels that make it hard: SIGCHLD ignored, statuses reaped by others, signals without end, system calls
// refused, standard descriptors closed. Each in a process of its own, which nothing has touched before: what the
// kernel refuses is asked once and remembered.

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <initializer_list>
#include <iostream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/process/this_process.hpp>

#include "os/fault.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"
#include "support/sanitized.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::ExitStatus;
using multiproc::Process;
using multiproc::StartMethod;
using support::in_child;
using support::Wire;
namespace fault = multiproc::os::fault;
namespace targets = support::targets;

bool is_readable(int fd) {
  pollfd item{fd, POLLIN, 0};
  return ::poll(&item, 1, 0) == 1;
}

class HostileHostTest : public support::EveryStartMethod {
 protected:
  // All that a Process can do, on a host that hides the status or doesn't.
  static void live_a_whole_life(bool statuses_are_stolen) {
    const auto expect_end = [&](const Process& child, ExitStatus true_status) {
      ASSERT_TRUE(child.exit_status().has_value());
      const ExitStatus status = *child.exit_status();
      if (statuses_are_stolen && !status.known()) {
        EXPECT_EQ(child.exitcode(), 255);
        EXPECT_FALSE(status.exited());
        EXPECT_FALSE(status.signalled());
        EXPECT_EQ(status.describe(), "ended, status unknown");
      } else {
        EXPECT_EQ(status, true_status);
      }
    };
    const auto before = support::open_descriptors();
    {
      Process quick{options(), targets::exit_with, 7};
      quick.start();
      quick.join();
      expect_end(quick, ExitStatus::exited_with(7));
      EXPECT_FALSE(quick.is_alive());
      quick.kill();  // long gone
      quick.close();
    }
    for (const int signal : {SIGTERM, SIGKILL, SIGINT}) {
      Process sleeper{options({.daemon = true}), targets::sleep_for_ever};
      sleeper.start();
      EXPECT_TRUE(sleeper.is_alive());
      const auto began = std::chrono::steady_clock::now();
      EXPECT_FALSE(sleeper.join(60ms));
      EXPECT_GE(std::chrono::steady_clock::now() - began, 60ms);
      EXPECT_FALSE(is_readable(sleeper.sentinel()));
      EXPECT_EQ(multiproc::active_children().size(), 1U);

      sleeper.send_signal(signal);

      EXPECT_TRUE(sleeper.join(support::scaled(support::kPatience)));
      EXPECT_TRUE(is_readable(sleeper.sentinel()));
      expect_end(sleeper, ExitStatus::killed_by(signal));
      EXPECT_TRUE(multiproc::active_children().empty());
    }
    {
      Process sleeper{options({.daemon = true}), targets::sleep_for_ever};
      sleeper.start();
    }
    {
      const Wire wire;
      Process waiter{options(), targets::wait_for_word, wire.path()};
      waiter.start();
      const auto handle = multiproc::active_children().at(0);
      EXPECT_FALSE(handle.join(10ms));
      wire.tell("end");
      EXPECT_TRUE(handle.join());
      waiter.join();
      expect_end(waiter, ExitStatus::exited_with(0));
    }
    {
      Process dutiful{options({.name = "dutiful"}),
                      [](StartMethod method) {
                        const auto parent = multiproc::parent_process();
                        if (!parent || !parent->is_alive() || parent->join(5ms)) std::exit(1);
                        Process grandchild{{.start_method = method}, targets::exit_with, 5};
                        grandchild.start();
                        grandchild.join();
                        const int code = *grandchild.exitcode();
                        std::exit(code == 5 || code == 255 ? 6 : 2);
                      },
                      GetParam()};
      dutiful.start();
      dutiful.join();
      expect_end(dutiful, ExitStatus::exited_with(6));
    }
    Process lost{options({.cwd = "/nobody/made/this"}), targets::nothing};
    EXPECT_THROW(lost.start(), multiproc::SystemError);
    Process pinned{options({.cpus = {8000}}), targets::nothing};
    EXPECT_THROW(pinned.start(), multiproc::SystemError);
    EXPECT_EQ(support::open_descriptors(), before);
  }
};
MULTIPROC_EVERY_START_METHOD(HostileHostTest);

// ---- Statuses that others take

TEST_P(HostileHostTest, SigchldIsIgnored) {
  const auto result = in_child([] {
    ::signal(SIGCHLD, SIG_IGN);
    live_a_whole_life(true);
    for (int i = 0; i < 100; ++i) {  // some end before their pidfd could be opened
      Process child{options({.cwd = i % 2 == 0 ? "/" : ""}), targets::nothing};
      child.start();
      child.join();
      EXPECT_FALSE(child.exit_status()->known());
    }
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, ChildrenAreReapedByTheKernel) {
  const auto result = in_child([] {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    action.sa_flags = SA_NOCLDWAIT;
    ::sigaction(SIGCHLD, &action, nullptr);
    live_a_whole_life(true);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, AThreadReapsWhateverItGets) {
  const auto result = in_child([] {
    std::atomic<bool> ended{false};
    std::atomic<int> stolen{0};
    std::thread thief([&] {
      while (!ended) {
        if (::waitpid(-1, nullptr, WNOHANG) > 0) ++stolen;
      }
    });
    live_a_whole_life(true);
    for (int i = 0; i < 100; ++i) {
      Process child{options({.cwd = i % 2 == 0 ? "/" : ""}), targets::exit_with, 7};
      child.start();
      child.join();
      EXPECT_TRUE(*child.exitcode() == 7 || *child.exitcode() == 255) << *child.exitcode();
    }
    ended = true;
    thief.join();
    EXPECT_GT(stolen, 0) << "nothing was stolen: this test tests nothing";
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, ASignalHandlerReapsWhateverItGets) {
  const auto result = in_child([] {
    struct sigaction action {};
    action.sa_handler = [](int) {
      const int kept = errno;
      while (::waitpid(-1, nullptr, WNOHANG) > 0) {
      }
      errno = kept;
    };
    ::sigaction(SIGCHLD, &action, nullptr);  // without SA_RESTART
    live_a_whole_life(true);
    for (int i = 0; i < 100; ++i) {
      Process child{options(), targets::exit_with, 7};
      child.start();
      child.join();
      EXPECT_TRUE(*child.exitcode() == 7 || *child.exitcode() == 255) << *child.exitcode();
    }
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// The library takes no status but its own children's.
TEST_P(HostileHostTest, ChildrenOfTheProgramsOwnAreLeftToIt) {
  const auto result = in_child([] {
    const pid_t own = ::fork();
    if (own == 0) ::_exit(21);
    live_a_whole_life(false);
    int status = 0;
    EXPECT_EQ(::waitpid(own, &status, 0), own);
    EXPECT_EQ(WEXITSTATUS(status), 21);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// ---- Signals without end

TEST_P(HostileHostTest, EveryCallIsInterrupted) {
  const auto result = in_child(
      [] {
        static std::atomic<int> interruptions{0};
        struct sigaction action {};
        action.sa_handler = [](int) { ++interruptions; };
        ::sigaction(SIGCHLD, &action, nullptr);
        ::sigaction(SIGALRM, &action, nullptr);
        const itimerval storm{{0, 300}, {0, 300}};
        ::setitimer(ITIMER_REAL, &storm, nullptr);
        live_a_whole_life(false);
        std::vector<std::uint32_t> big((8U << 20) / 4);
        std::iota(big.begin(), big.end(), 0U);
        for (int i = 0; i < 10; ++i) {
          Process child{options({.daemon = i % 2 == 0, .cwd = "/"}),
                        [](const std::vector<std::uint32_t>& numbers) {
                          std::exit(numbers.size() == (8U << 20) / 4 && numbers.back() == numbers.size() - 1 ? 8 : 1);
                        },
                        big};
          child.start();
          child.join();
          EXPECT_EQ(child.exitcode(), 8);
        }
        const itimerval calm{};
        ::setitimer(ITIMER_REAL, &calm, nullptr);
        EXPECT_GT(interruptions, 50);
      },
      {.limit = 60s});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, TheStarterHasAllSignalsBlocked) {
  const auto result = in_child([] {
    sigset_t all;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
    Process child{options(), [] {
                    sigset_t mine;
                    ::pthread_sigmask(SIG_SETMASK, nullptr, &mine);
                    std::exit(sigismember(&mine, SIGTERM) == 1 ? 9 : 1);  // inherited, as by any fork
                  }};
    child.start();
    child.join();
    EXPECT_EQ(child.exitcode(), 9);
    sigset_t after;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &after);
    EXPECT_EQ(sigismember(&after, SIGUSR1), 1);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, TheSignalMaskOfTheStarterIsTheChilds) {
  const auto result = in_child([] {
    Process child{options(), [] {
                    sigset_t mine;
                    ::pthread_sigmask(SIG_SETMASK, nullptr, &mine);
                    for (int signal = 1; signal < NSIG; ++signal) {
                      if (sigismember(&mine, signal) == 1) std::exit(signal);
                    }
                  }};
    child.start();
    child.join();
    EXPECT_EQ(child.exitcode(), 0) << "this signal is blocked in the child";
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// ---- System calls that are refused

// A seccomp filter like a container's, which children inherit: these calls answer `error`. False: not to be had here.
bool refuse(std::initializer_list<long> calls, int error) {
  std::vector<sock_filter> program{BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
  for (const long call : calls) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(call), 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
  const sock_fprog filter{static_cast<unsigned short>(program.size()), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

constexpr int kNotHere = 77;  // the exit code of a test that this machine does not allow

TEST_P(HostileHostTest, TheKernelHasNoPidfds) {
  if (support::kThreadSanitizer && GetParam() == StartMethod::spawn) {
    GTEST_SKIP() << "it makes a fork of each vfork, and forks close what only the image is to have";
  }
  for (const int error : {ENOSYS, EPERM}) {
    const auto result = in_child([error]() -> int {
      if (!refuse({SYS_pidfd_open, SYS_pidfd_send_signal, SYS_close_range, SYS_clone3}, error)) return kNotHere;
      EXPECT_EQ(::syscall(SYS_pidfd_open, ::getpid(), 0), -1);
      live_a_whole_life(false);
      return 0;
    });
    if (result.status == kNotHere) GTEST_SKIP() << "no seccomp filters here";
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }
}

TEST_P(HostileHostTest, TheKernelHasNoPidfdsAndSigchldIsIgnored) {
  const auto result = in_child([]() -> int {
    if (!refuse({SYS_pidfd_open, SYS_pidfd_send_signal}, ENOSYS)) return kNotHere;
    ::signal(SIGCHLD, SIG_IGN);
    live_a_whole_life(true);
    return 0;
  });
  if (result.status == kNotHere) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, PidfdsMayBeOpenedButNotUsed) {
  for (const int error : {ENOSYS, EPERM}) {
    const auto result = in_child([error]() -> int {
      if (!refuse({SYS_pidfd_send_signal}, error)) return kNotHere;
      live_a_whole_life(false);
      return 0;
    });
    if (result.status == kNotHere) GTEST_SKIP() << "no seccomp filters here";
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }
}

// Linux 5.3 has pidfds but no waitid(P_PIDFD).
TEST_P(HostileHostTest, PidfdsCanNotBeWaitedFor) {
  const auto result = in_child([] {
    fault::arm("waitid_pidfd", EINVAL, 1, 1'000'000);
    live_a_whole_life(false);
    EXPECT_GT(fault::seen("waitid_pidfd"), 0);
    fault::disarm();
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// The sentinel is a pipe then, which whatever the child leaves behind may hold open.
TEST_P(HostileHostTest, WithoutPidfdsAGrandchildThatSleepsOnHoldsNobodyUp) {
  for (const bool executes : {false, true}) {
    SCOPED_TRACE(executes ? "a grandchild that was executed" : "a grandchild that was forked");
    const auto result = in_child([executes] {
      fault::arm("pidfd_open", ENOSYS, 1, 1'000'000);
      const Wire wire;
      Process child{options(),
                    [](const std::string& path, bool by_exec) {
                      const pid_t grandchild = ::fork();
                      if (grandchild == 0) {
                        if (by_exec) ::execl("/bin/sleep", "sleep", "1000", nullptr);
                        targets::sleep_for_ever();
                      }
                      Wire::tell(path, std::to_string(grandchild));
                      std::exit(17);
                    },
                    wire.path(), executes};
      child.start();
      const auto grandchild = static_cast<pid_t>(wire.hear_number());

      child.join();
      EXPECT_EQ(child.exitcode(), 17);
      EXPECT_FALSE(child.is_alive());

      EXPECT_EQ(::kill(grandchild, SIGKILL), 0) << "it was to sleep on";
      fault::disarm();
    });
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }
}

// Nothing that a child executes should hold a descriptor of ours: by it the sentinel would lie.
TEST_P(HostileHostTest, WithoutPidfdsTheSentinelTellsTheEndThoughAnExecutedGrandchildSleepsOn) {
  const auto result = in_child([] {
    fault::arm("pidfd_open", ENOSYS, 1, 1'000'000);
    const Wire wire;
    Process child{options(),
                  [](const std::string& path) {
                    int executed[2];
                    if (::pipe2(executed, O_CLOEXEC) != 0) std::exit(1);
                    const pid_t grandchild = ::fork();
                    if (grandchild == 0) ::execl("/bin/sleep", "sleep", "1000", nullptr);
                    ::close(executed[1]);
                    char byte = 0;
                    (void)!::read(executed[0], &byte, 1);  // the end of the stream: it has executed
                    Wire::tell(path, std::to_string(grandchild));
                  },
                  wire.path()};
    child.start();
    const auto grandchild = static_cast<pid_t>(wire.hear_number());
    child.join();
    pollfd end{child.sentinel(), POLLIN, 0};
    EXPECT_EQ(::poll(&end, 1, 2000), 1) << "the sentinel says that the child lives";
    ::kill(grandchild, SIGKILL);
    fault::disarm();
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, WithoutPidfdsAChildThatClosesAllItsDescriptorsIsStillAlive) {
  const auto result = in_child([] {
    fault::arm("pidfd_open", ENOSYS, 1, 1'000'000);
    const Wire wire;
    Process child{options({.daemon = true}),
                  [](const std::string& path) {
                    Wire::tell(path, "closing");
                    for (int fd = 0; fd < 1024; ++fd) ::close(fd);  // as daemons do
                    targets::sleep_for_ever();
                  },
                  wire.path()};
    child.start();
    wire.hear();
    std::timespec before{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);

    EXPECT_FALSE(child.join(500ms));

    std::timespec after{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    const double used =
        static_cast<double>(after.tv_sec - before.tv_sec) + static_cast<double>(after.tv_nsec - before.tv_nsec) * 1e-9;
    EXPECT_LT(used, 0.25) << "join() does not sleep but spin";
    EXPECT_TRUE(child.is_alive());
    child.kill();
    child.join();
    EXPECT_EQ(child.exitcode(), -SIGKILL);
    fault::disarm();
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, WithoutPidfdsAChildSeesTheEndOfItsParent) {
  const Wire wire;
  const auto result = in_child([&]() -> int {
    if (!refuse({SYS_pidfd_open}, EPERM)) return kNotHere;
    auto* child = new Process{options(),
                              [](const std::string& path) {
                                const auto parent = multiproc::parent_process().value();
                                Wire::tell(path, parent.join(10ms) || !parent.is_alive() ? "ended" : "runs");
                                Wire::tell(path, parent.join() && !parent.is_alive() ? "ended" : "runs");
                              },
                              wire.path()};
    child->start();
    EXPECT_EQ(wire.hear(), "runs");
    return ::kill(::getpid(), SIGKILL);
  });
  if (result.status == kNotHere) GTEST_SKIP() << "no seccomp filters here";
  EXPECT_EQ(result.status, -SIGKILL) << result.out << result.err;
  EXPECT_EQ(wire.hear(), "ended");
}

TEST_P(HostileHostTest, WithoutPidfdsThreadsMayWaitForOneProcess) {
  const auto result = in_child([] {
    fault::arm("pidfd_open", ENOSYS, 1, 1'000'000);
    const Wire wire;
    Process child{options(), targets::wait_for_word, wire.path()};
    child.start();
    std::vector<std::thread> waiters;
    std::atomic<int> right{0};
    for (int i = 0; i < 4; ++i) {
      waiters.emplace_back([&] {
        child.join();
        if (child.exitcode() == 0) ++right;
      });
    }
    wire.tell("end");
    for (std::thread& waiter : waiters) waiter.join();
    EXPECT_EQ(right, 4);
    fault::disarm();
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// ---- Standard descriptors that are closed

TEST_P(HostileHostTest, StandardDescriptorsAreClosedInEveryCombination) {
  for (int closed = 1; closed < 8; ++closed) {
    SCOPED_TRACE("closed: " + std::to_string(closed));
    const Wire wire;
    const auto result = in_child([&] {
      for (int fd = 0; fd < 3; ++fd) {
        if ((closed & 1 << fd) != 0) ::close(fd);
      }
      bool ok = true;
      const auto still_closed = [closed] {
        for (int fd = 0; fd < 3; ++fd) {
          if ((closed & 1 << fd) != 0 && ::fcntl(fd, F_GETFD) != -1) return false;
        }
        return true;
      };
      for (const bool daemon : {false, true}) {
        for (const bool by_a_thread : {false, true}) {
          Process child{options({.daemon = daemon, .cpus = {}, .cwd = "/"}),
                        [](const std::string& path, int mask) {
                          std::string open;
                          for (int fd = 0; fd < 3; ++fd) {
                            if ((mask & 1 << fd) != 0 && ::fcntl(fd, F_GETFD) != -1) open += std::to_string(fd);
                          }
                          Wire::tell(path, open.empty() ? "none" : open);
                          std::printf("into nothing, or to where it belongs");
                          std::cout << "likewise";
                          std::exit(18);
                        },
                        wire.path(), closed};
          if (by_a_thread) {
            std::thread([&] { child.start(); }).join();
          } else {
            child.start();
          }
          ok = ok && still_closed() && child.sentinel() > 2;
          child.join();
          ok = ok && child.exitcode() == 18 && still_closed();
        }
      }
      Process thrower{options(), [] { throw 1; }};
      thrower.start();
      thrower.join();
      return ok && thrower.exitcode() == 1 ? 0 : 3;
    });
    EXPECT_EQ(result.status, 0);
    for (int i = 0; i < 4; ++i)
      EXPECT_EQ(wire.hear(), "none") << "these were closed in the parent and are open in the child";
  }
}

// ---- Threads that hold locks at a fork that was asked for

TEST(HostileHostByForkTest, ThreadsHammerMallocAndStdioMeanwhile) {
  const auto result = in_child([] {
    std::FILE* const nowhere = std::fopen("/dev/null", "w");
    std::atomic<bool> ended{false};
    std::vector<std::thread> threads;
    threads.emplace_back([&] {
      while (!ended) std::fprintf(nowhere, "%d", 1);
    });
    threads.emplace_back([&] {
      while (!ended) std::vector<char>(2000).swap(*std::make_unique<std::vector<char>>());
    });
    threads.emplace_back([&] {
      while (!ended) {
        Process child{{.start_method = StartMethod::spawn}, targets::nothing};
        child.start();
        child.join();
      }
    });
    for (int i = 0; i < 200; ++i) {
      Process child{{.start_method = StartMethod::fork}, [nowhere] {
                      std::fputs("from the child", nowhere);
                      std::printf("%s", std::string(1000, 'x').c_str());
                      Process grandchild{{.start_method = StartMethod::fork}, targets::exit_with, 4};
                      grandchild.start();
                      grandchild.join();
                      std::exit(*grandchild.exitcode() + 1);
                    }};
      child.start();
      child.join();
      EXPECT_EQ(child.exitcode(), 5);
    }
    ended = true;
    for (std::thread& thread : threads) thread.join();
  });
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(HostileHostByForkTest, AThreadReadsFromStdinMeanwhile) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const auto result = in_child([&] {
    ::dup2(ends[0], STDIN_FILENO);
    std::thread reader([] { (void)std::getc(stdin); });  // holds the lock of stdin while it waits
    std::this_thread::sleep_for(20ms);
    for (int i = 0; i < 20; ++i) {
      Process child{{.start_method = i % 2 == 0 ? StartMethod::fork : StartMethod::spawn}, targets::exit_with, 4};
      child.start();
      child.join();
      EXPECT_EQ(child.exitcode(), 4);
    }
    (void)!::write(ends[1], "x", 1);
    reader.join();
  });
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// ---- Other namespaces

TEST_P(HostileHostTest, ThereIsNoProcFileSystem) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  if (support::kSanitized) GTEST_SKIP() << "LeakSanitizer needs /proc";
  const auto result = in_child([]() -> int {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", "/proc", "tmpfs", 0, nullptr) != 0) {
      return kNotHere;
    }
    for (int i = 0; i < 3; ++i) {
      Process child{options({.daemon = i == 1, .cwd = i == 2 ? "/" : ""}), targets::exit_with, 7};
      child.start();
      child.join();
      EXPECT_EQ(child.exitcode(), 7);
    }
    Process sleeper{options({.daemon = true}), targets::sleep_for_ever};
    sleeper.start();
    EXPECT_FALSE(sleeper.join(20ms));
    sleeper.kill();
    sleeper.join();
    EXPECT_EQ(sleeper.exitcode(), -SIGKILL);
    EXPECT_GE(multiproc::cpu_count(), 1U);
    return 0;
  });
  if (result.status == kNotHere) GTEST_SKIP() << "no mount namespaces here";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(HostileHostTest, ChildrenAreBornIntoANewPidNamespace) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto result = in_child([]() -> int {
    if (::unshare(CLONE_NEWPID) != 0) return kNotHere;
    // The first child is the init of the namespace: with its end all others would end, so it has to be one that stays.
    Process init{options({.daemon = true}), targets::sleep_for_ever};
    init.start();
    for (int i = 0; i < 3; ++i) {
      Process child{options({.daemon = i == 1}), targets::exit_with, 19};
      child.start();
      child.join();
      EXPECT_EQ(child.exitcode(), 19);
    }
    return 0;
  });
  if (result.status == kNotHere) GTEST_SKIP() << "no pid namespaces here";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
