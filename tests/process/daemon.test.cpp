// SPDX-License-Identifier: MIT
//
// A daemon is gone when its parent is, however that ended, and not before.
//
// The tests stand two levels above it: they start a process (the parent), which starts the daemon, which tells them its
// pid. The limits are those of a hang; what must happen takes milliseconds.

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/process/process.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Process;
using multiproc::ProcessOptions;
using multiproc::StartMethod;
using support::in_child;
using support::Wire;
using support::Witness;
namespace targets = support::targets;

void block_all_signals_and_sleep(const std::string& wire) {
  sigset_t all;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
  for (int signal = 1; signal < NSIG; ++signal) ::signal(signal, SIG_IGN);
  targets::tell_and_sleep(wire);
}

void stop_itself(const std::string& wire) {
  Wire::tell(wire, std::to_string(::getpid()));
  ::raise(SIGSTOP);
  targets::sleep_for_ever();
}

void become_another_program(const std::string& wire) {
  Wire::tell(wire, std::to_string(::getpid()));
  ::execl("/bin/sleep", "sleep", "1000", nullptr);
}

void become_another_user(const std::string& wire) {
  const int fd = ::open(wire.c_str(), O_WRONLY | O_CLOEXEC);  // while it may
  if (::setresuid(65534, 65534, 65534) != 0) ::_exit(1);
  const std::string pid = std::to_string(::getpid()) + "\n";
  (void)!::write(fd, pid.data(), pid.size());
  targets::sleep_for_ever();
}

void run_beside_a_thread_that_works(const std::string& wire) {
  std::thread([] {
    for (;;) std::this_thread::sleep_for(1ms);
  }).detach();
  targets::tell_and_sleep(wire);
}

class DaemonTest : public support::EveryStartMethod {
 protected:
  using Target = void (*)(const std::string&);

  /// Starts a process that starts a daemon, in the main thread or in one that then ends, and ends by SIGKILL. The
  /// daemon must live until then.
  static void outlived_by_nobody(Target target, bool by_a_thread) {
    const Wire wire;
    std::optional<Witness> daemon;
    const auto parent = start_parent([&] {
      const auto start = [&] {
        auto* child = new Process{options({.daemon = true}), target, wire.path()};
        child->start();
      };
      if (by_a_thread) {
        std::thread(start).join();
      } else {
        start();
      }
      targets::sleep_for_ever();
    });
    daemon.emplace(wire.hear_number());
    EXPECT_FALSE(daemon->ends(50ms)) << "the daemon did not wait for its parent's end";

    ::kill(parent, SIGKILL);
    ::waitpid(parent, nullptr, 0);

    EXPECT_TRUE(daemon->ends(10s)) << "the daemon outlived its parent";
    daemon->kill();
  }

  // A plain fork: whoever lives longer than it is the library's fault.
  template <class Body>
  static pid_t start_parent(Body body) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      body();
      ::_exit(0);
    }
    return pid;
  }
};
MULTIPROC_EVERY_START_METHOD(DaemonTest);

TEST_P(DaemonTest, IsGoneWhenItsParentWasKilled) {
  outlived_by_nobody(targets::tell_and_sleep, false);
}

TEST_P(DaemonTest, StartedByAThreadThatEndedItLivesOnUntilTheProcessIsKilled) {
  outlived_by_nobody(targets::tell_and_sleep, true);
}

TEST_P(DaemonTest, BlockedAndIgnoredSignalsDoNotSaveIt) {
  outlived_by_nobody(block_all_signals_and_sleep, false);
  outlived_by_nobody(block_all_signals_and_sleep, true);
}

TEST_P(DaemonTest, StoppedItIsGoneToo) {
  outlived_by_nobody(stop_itself, false);
  outlived_by_nobody(stop_itself, true);
}

TEST_P(DaemonTest, ThreadsOfItsOwnDoNotSaveIt) {
  outlived_by_nobody(run_beside_a_thread_that_works, false);
  outlived_by_nobody(run_beside_a_thread_that_works, true);
}

TEST_P(DaemonTest, AnotherUserThatItBecameIsGoneToo) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  outlived_by_nobody(become_another_user, false);
  outlived_by_nobody(become_another_user, true);
}

TEST_P(DaemonTest, AProgramThatItBecameIsGoneToo) {
  outlived_by_nobody(become_another_program, false);
}

TEST_P(DaemonTest, IsGoneHoweverItsParentEnds) {
  const std::string method(to_string(GetParam()));
  for (const char* who : {"main", "thread"}) {
    for (const char* how : {"return", "exit", "quick_exit", "_exit", "abort", "segv", "throw", "kill"}) {
      SCOPED_TRACE(std::string(who) + ", " + how);
      const Wire wire;
      const auto result = support::run_program(support::program("daemon_parent"), {method, who, how, wire.path()});
      EXPECT_FALSE(result.timed_out) << "the daemon outlived its parent and holds its output";
      const Witness daemon(wire.hear_number());
      EXPECT_TRUE(daemon.ends(10s));
    }
  }
}

void start_a_daemon_and_end(StartMethod method, const std::string& wire, const std::string& go,
                            const std::string& how) {
  static auto* daemon = new Process{{.daemon = true, .start_method = method}, targets::tell_and_sleep, wire};
  daemon->start();
  (void)Wire::hear(go);
  if (how == "exit") std::exit(0);
  if (how == "throw") throw 1;
  if (how == "kill") ::raise(SIGKILL);
}

TEST_P(DaemonTest, OfAChildThatEndsIsGoneWithIt) {
  const auto result = in_child([] {  // for the stderr of the child that throws
    for (const char* how : {"return", "exit", "throw", "kill"}) {
      SCOPED_TRACE(how);
      const Wire wire;
      const Wire go;
      Process child{options(), start_a_daemon_and_end, GetParam(), wire.path(), go.path(), std::string(how)};
      child.start();
      const Witness daemon(wire.hear_number());

      go.tell("end");
      child.join();

      EXPECT_TRUE(daemon.ends(10s));
      if (std::string(how) != "kill") {
        EXPECT_FALSE(daemon.is_alive());
      }
    }
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// Of a chain of daemons the first is killed with the parent, the next with the first, and so on.
TEST_P(DaemonTest, NestedItIsGoneDownToTheLast) {
  struct Nest {
    static void level(int depth, StartMethod method, const std::string& wire) {
      Wire::tell(wire, std::to_string(::getpid()));
      Process next{{.daemon = true, .start_method = method}, level, depth + 1, method, wire};
      if (depth < 4) next.start();
      targets::sleep_for_ever();
    }
  };
  const Wire wire;
  const auto parent = start_parent([&] {
    Process first{options({.daemon = true}), Nest::level, 1, GetParam(), wire.path()};
    first.start();
    targets::sleep_for_ever();
  });
  std::vector<Witness> daemons;
  for (int i = 0; i < 4; ++i) daemons.emplace_back(wire.hear_number());
  for (const Witness& daemon : daemons) EXPECT_TRUE(daemon.is_alive());

  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);

  for (const Witness& daemon : daemons) EXPECT_TRUE(daemon.ends(10s));
}

TEST_P(DaemonTest, OfTheSameParentLiveAndDieIndependently) {
  const Wire wire;
  const auto parent = start_parent([&] {
    std::vector<Process> daemons;
    for (int i = 0; i < 6; ++i) daemons.emplace_back(options({.daemon = true}), targets::tell_and_sleep, wire.path());
    for (std::size_t i = 0; i < daemons.size(); ++i) {
      if (i % 2 == 0) {
        daemons[i].start();
      } else {
        std::thread([&] { daemons[i].start(); }).join();
      }
    }
    targets::sleep_for_ever();
  });
  std::vector<Witness> daemons;
  for (int i = 0; i < 6; ++i) daemons.emplace_back(wire.hear_number());
  daemons[0].kill();
  daemons[1].kill();
  EXPECT_TRUE(daemons[0].ends());
  EXPECT_TRUE(daemons[1].ends());
  for (std::size_t i = 2; i < 6; ++i) EXPECT_FALSE(daemons[i].ends(10ms)) << "died with a sister";

  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);

  for (const Witness& daemon : daemons) EXPECT_TRUE(daemon.ends(10s));
}

// A sister that was started later, and lives, must not keep the lifeline of the first one open.
TEST_P(DaemonTest, StartedByAThreadItIsGoneThoughANonDaemonSisterLivesOn) {
  const Wire wire;
  const Wire of_sister;
  const auto parent = start_parent([&] {
    std::thread([&] {
      auto* daemon = new Process{options({.daemon = true}), targets::tell_and_sleep, wire.path()};
      daemon->start();
      auto* sister = new Process{options(), targets::tell_and_sleep, of_sister.path()};
      sister->start();
    }).join();
    targets::sleep_for_ever();
  });
  const Witness daemon(wire.hear_number());
  const Witness sister(of_sister.hear_number());

  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);

  EXPECT_TRUE(daemon.ends(10s));
  EXPECT_TRUE(sister.is_alive());
  sister.kill();
}

// A raw fork of the user's, which knows nothing of us, must not keep it open either.
TEST_P(DaemonTest, StartedByAThreadItIsGoneThoughAForkOfItsParentLivesOn) {
  const Wire wire;
  const Wire of_fork;
  const auto parent = start_parent([&] {
    std::thread([&] {
      auto* daemon = new Process{options({.daemon = true}), targets::tell_and_sleep, wire.path()};
      daemon->start();
    }).join();
    if (::fork() == 0) targets::tell_and_sleep(of_fork.path());
    targets::sleep_for_ever();
  });
  const Witness daemon(wire.hear_number());
  const Witness fork(of_fork.hear_number());

  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);

  EXPECT_TRUE(daemon.ends(10s));
  EXPECT_TRUE(fork.is_alive());
  fork.kill();
}

TEST_P(DaemonTest, ADaemonThatEndedByItselfIsJoinedLikeAnyProcess) {
  for (const bool by_a_thread : {false, true}) {
    Process child{options({.daemon = true}), targets::exit_with, 12};
    if (by_a_thread) {
      std::thread([&] { child.start(); }).join();
    } else {
      child.start();
    }
    child.join();
    EXPECT_EQ(child.exitcode(), 12);
  }
}

TEST_P(DaemonTest, ThatBecameAnotherUserIsKilledByItsDestructor) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const Wire wire;
  Process child{options({.daemon = true}), become_another_user, wire.path()};
  child.start();
  (void)wire.hear();
}

// The parent starts daemon after daemon and is killed in the middle of that. Its orphans fall to the process that
// counts them, and a daemon among them would never end.
TEST_P(DaemonTest, NoneIsLeftThoughTheParentIsKilledInTheMiddleOfAStart) {
  constexpr int kRounds = 120;
  const auto result = in_child([] {
    support::adopt_orphans();
    std::mt19937 random(20'260'101);
    for (int round = 0; round < kRounds; ++round) {
      const bool by_a_thread = round % 2 == 1;
      const pid_t parent = start_parent([&] {
        const auto start = [] {
          for (;;) {
            auto* daemon = new Process{options({.daemon = true}), targets::sleep_for_ever};
            daemon->start();
          }
        };
        if (by_a_thread) {
          std::thread(start).join();
        } else {
          start();
        }
      });
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 12'000));
      ::kill(parent, SIGKILL);
      (void)support::reap_all();
    }
  });
  EXPECT_FALSE(result.timed_out) << "a daemon outlived its parent";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(DaemonTest, NoneIsLeftWhenTheParentEndsRightAfterTheStart) {
  constexpr int kRounds = 100;
  const auto result = in_child([] {
    support::adopt_orphans();
    for (int round = 0; round < kRounds; ++round) {
      (void)start_parent([round] {
        auto* daemon = new Process{options({.daemon = true}), targets::sleep_for_ever};
        if (round % 2 == 0) {
          daemon->start();
        } else {
          std::thread([daemon] { daemon->start(); }).join();
        }
        ::kill(::getpid(), SIGKILL);
      });
      (void)support::reap_all();
    }
  });
  EXPECT_FALSE(result.timed_out) << "a daemon outlived its parent";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
