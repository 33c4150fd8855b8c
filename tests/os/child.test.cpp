// SPDX-License-Identifier: MIT

#include <multiproc/os/child.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <linux/sched.h>  // clone_args
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <gtest/gtest.h>

#include <multiproc/os/launch.hpp>
#include <multiproc/os/pipe.hpp>
#include <multiproc/os/poll.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;
using multiproc::Deadline;
using multiproc::ExitStatus;
using Clock = std::chrono::steady_clock;

// Every test runs twice: with a pidfd, and as if the kernel knew none, with the pipe that the child holds in its place.
enum class Kernel { with_pidfds, without };

class ChildTest : public testing::TestWithParam<Kernel> {
 protected:
  ~ChildTest() override {
    for (const pid_t pid : born_) {
      siginfo_t info{};
      if (::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) != 0) continue;  // reaped
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
  }

  // A child that runs `body` and then exits with 0, taken charge of by `child`. Gone after the test at the latest.
  template <class Body>
  void bear(Child& child, Body body) {
    PipeEnds end;
    if (GetParam() == Kernel::without) end = make_pipe().or_throw("pipe");
    const pid_t pid = ::fork();
    if (pid == 0) {
      end.read.reset();
      body();
      ::_exit(0);
    }
    born_.push_back(pid);
    child = Child::adopt(pid, std::move(end.read)).or_throw("adopt");
  }

 private:
  std::vector<pid_t> born_;
};
INSTANTIATE_TEST_SUITE_P(Kernels, ChildTest, testing::Values(Kernel::with_pidfds, Kernel::without),
                         [](const auto& kernel) {
                           return kernel.param == Kernel::with_pidfds ? "WithPidfds" : "WithoutPidfds";
                         });

TEST_P(ChildTest, WaitsAndReapsAnExitCode) {
  Child child;
  bear(child, [] { ::_exit(42); });

  EXPECT_TRUE(child.wait(Deadline::never()).value());
  const auto status = child.reap();

  ASSERT_TRUE(status);
  ASSERT_TRUE(status.value().has_value());
  EXPECT_EQ(*status.value(), ExitStatus::exited_with(42));
  EXPECT_TRUE(os_test::has_no_child());
}

TEST_P(ChildTest, ReapsTheSignalThatKilledIt) {
  Child child;
  bear(child, os_test::pause_for_ever);

  EXPECT_TRUE(child.send(SIGTERM));

  EXPECT_TRUE(child.wait(Deadline::never()).value());
  EXPECT_EQ(child.reap().value(), ExitStatus::killed_by(SIGTERM));
}

TEST_P(ChildTest, SaysWhatItUsed) {
  Child child;
  bear(child, [] {
    const auto until = Clock::now() + 20ms;
    while (Clock::now() < until) {
    }
  });

  EXPECT_TRUE(child.wait(Deadline::never()).value());
  const auto status = child.reap().value();

  ASSERT_TRUE(status.has_value());
  EXPECT_GT(status->max_rss(), 100'000U);
  EXPECT_GT(status->cpu_time(), 0us);
}

TEST_P(ChildTest, IsReapedOnceAndUnknownFromThenOn) {
  Child child;
  bear(child, [] { ::_exit(3); });
  ASSERT_TRUE(child.wait(Deadline::never()).value());

  EXPECT_EQ(child.reap().value(), ExitStatus::exited_with(3));

  EXPECT_EQ(child.reap().value(), ExitStatus::unknown());
  EXPECT_TRUE(child.wait(Deadline::now()).value());
  EXPECT_TRUE(child.send(SIGKILL)) << "what has ended is no failure";
}

TEST_P(ChildTest, ALivingChildIsNotReapedAndWaitedForInVain) {
  Child child;
  bear(child, os_test::pause_for_ever);
  const auto began = Clock::now();

  EXPECT_EQ(child.reap().value(), std::nullopt);
  EXPECT_FALSE(child.wait(Deadline::now()).value());
  EXPECT_FALSE(child.wait(50ms).value());

  EXPECT_GE(Clock::now() - began, 50ms);
  EXPECT_EQ(child.reap().value(), std::nullopt);
}

TEST_P(ChildTest, WaitingEndsNotEarlyAndNotNeverUnderAStormOfSignals) {
  Child child;
  bear(child, os_test::pause_for_ever);
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_FALSE(child.wait(60ms).value());
  EXPECT_GE(Clock::now() - began, 60ms);
  EXPECT_TRUE(child.send(SIGKILL));
  EXPECT_TRUE(child.wait(Deadline::never()).value());

  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST_P(ChildTest, AStoppedChildHasNotEnded) {
  Child child;
  bear(child, os_test::pause_for_ever);

  ASSERT_TRUE(child.send(SIGSTOP));
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child.pid()), &info, WSTOPPED), 0);

  EXPECT_FALSE(child.wait(10ms).value());
  EXPECT_EQ(child.reap().value(), std::nullopt);
  child.destroy();
}

TEST_P(ChildTest, TheSentinelIsReadableOnceItHasEndedAndStaysSo) {
  Child child;
  bear(child, os_test::pause_for_ever);
  EXPECT_FALSE(wait_readable(child.sentinel(), Deadline::now()).value());

  ASSERT_TRUE(child.send(SIGKILL));

  EXPECT_TRUE(wait_readable(child.sentinel(), Deadline::never()).value());
  ASSERT_TRUE(child.wait(Deadline::never()).value());
  (void)child.reap();
  EXPECT_TRUE(wait_readable(child.sentinel(), Deadline::now()).value());
  EXPECT_TRUE(os_test::is_close_on_exec(child.sentinel()));
}

TEST_P(ChildTest, AGrandchildThatLivesOnDoesNotHoldUpTheWait) {
  auto grandchild = make_pipe().or_throw("pipe");
  Child child;
  bear(child, [&] {
    const pid_t pid = ::fork();
    if (pid == 0) os_test::pause_for_ever();
    (void)!::write(grandchild.write.get(), &pid, sizeof pid);
  });
  pid_t pid = -1;
  ASSERT_EQ(::read(grandchild.read.get(), &pid, sizeof pid), static_cast<ssize_t>(sizeof pid));

  EXPECT_TRUE(child.wait(Deadline::never()).value());
  EXPECT_EQ(child.reap().value(), ExitStatus::exited_with(0));
  EXPECT_TRUE(child.wait(Deadline::now()).value()) << "it has ended, whoever holds its pipe";

  ::kill(pid, SIGKILL);
}

TEST_P(ChildTest, AChildThatClosesAllItHasIsWaitedForAsLongAsItLives) {
  Child child;
  bear(child, [] {
    ::close_range(0, ~0U, 0);
    os_test::pause_for_ever();
  });
  if (GetParam() == Kernel::without) {
    ASSERT_TRUE(wait_readable(child.sentinel(), Deadline::never()).value());
  }
  {
    const os_test::Refusing counting_alone{"waitid", ENOMEM, 1'000'000};

    EXPECT_FALSE(child.wait(100ms).value());

    EXPECT_LT(multiproc::os::fault::seen("waitid"), 100) << "it looked without a pause";
  }
  EXPECT_EQ(child.reap().value(), std::nullopt);
  EXPECT_TRUE(child.send(SIGKILL));
  EXPECT_TRUE(child.wait(Deadline::never()).value());
}

TEST_P(ChildTest, AStatusThatAThiefTookIsUnknown) {
  Child child;
  bear(child, [] { ::_exit(5); });
  ASSERT_TRUE(child.wait(Deadline::never()).value());

  ASSERT_EQ(::waitpid(-1, nullptr, 0), child.pid());

  EXPECT_TRUE(child.wait(Deadline::never()).value());
  EXPECT_TRUE(child.send(SIGKILL)) << "ended is no failure";
  EXPECT_EQ(child.reap().value(), ExitStatus::unknown());
}

TEST_P(ChildTest, WithSigchldIgnoredItEndsWithAnUnknownStatus) {
  const auto result = support::in_child([this] {
    ::signal(SIGCHLD, SIG_IGN);
    auto go = make_pipe().or_throw("pipe");
    Child child;
    bear(child, [&] {
      std::byte one{};
      (void)read_some(go.read.get(), {&one, 1});
      ::_exit(5);
    });
    EXPECT_FALSE(child.wait(10ms).value());
    EXPECT_EQ(child.reap().value(), std::nullopt) << "it lives";

    ASSERT_TRUE(write_all(go.write.get(), os_test::bytes_of("x")));

    EXPECT_TRUE(child.wait(Deadline::never()).value());
    EXPECT_EQ(child.reap().value(), ExitStatus::unknown());
    EXPECT_EQ(child.reap().value(), ExitStatus::unknown());
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST_P(ChildTest, ASignalThatDoesNotExistIsEinval) {
  Child child;
  bear(child, os_test::pause_for_ever);

  EXPECT_EQ(child.send(1000).error(), EINVAL);
  EXPECT_EQ(child.send(-1).error(), EINVAL);
  EXPECT_TRUE(child.send(0));
  child.destroy();
}

TEST_P(ChildTest, ASignalToADeadOneWhoseStatusIsStillThereIsNoFailure) {
  Child child;
  bear(child, [] {});
  ASSERT_TRUE(child.wait(Deadline::never()).value());

  EXPECT_TRUE(child.send(SIGTERM));

  EXPECT_EQ(child.reap().value(), ExitStatus::exited_with(0));
}

TEST_P(ChildTest, DestroyKillsAndReapsWhateverTheChildIsDoing) {
  for (const bool stopped : {false, true}) {
    Child child;
    bear(child, [] {
      sigset_t all;
      ::sigfillset(&all);
      ::sigprocmask(SIG_SETMASK, &all, nullptr);
      os_test::pause_for_ever();
    });
    ASSERT_TRUE(!stopped || child.send(SIGSTOP));

    child.destroy();

    EXPECT_TRUE(os_test::has_no_child());
    EXPECT_EQ(child.reap().value(), ExitStatus::unknown());
    child.destroy();  // once more is nothing
  }
}

TEST_P(ChildTest, WaitingAndReapingRepeatWhatASignalInterrupted) {
  Child child;
  bear(child, [] { ::_exit(7); });
  ASSERT_TRUE(child.wait(Deadline::never()).value());

  const char* const call = GetParam() == Kernel::with_pidfds ? "waitid_pidfd" : "waitid";
  os_test::expect_each_repeated(call, EINTR, [&] { return child.wait(Deadline::never()); });
  os_test::expect_each_repeated("poll", EINTR, [&] { return child.wait(1h); });
  const os_test::Refusing refusing{call, EINTR, 1, 5};
  EXPECT_EQ(child.reap().value(), ExitStatus::exited_with(7));
}

TEST_P(ChildTest, WhatTheKernelRefusesIsReportedAndTheChildIsStillThere) {
  Child child;
  bear(child, [] { ::_exit(7); });
  ASSERT_TRUE(child.wait(Deadline::never()).value());
  {
    const os_test::Refusing refusing{"poll", ENOMEM};
    EXPECT_EQ(child.wait(1s).error(), ENOMEM);
  }
  {
    const os_test::Refusing refusing{GetParam() == Kernel::with_pidfds ? "waitid_pidfd" : "waitid", ENOMEM};
    EXPECT_EQ(child.reap().error(), ENOMEM);
  }
  EXPECT_EQ(child.reap().value(), ExitStatus::exited_with(7));
}

TEST(ChildFallbackTest, WhereTheKernelCantWaitForAPidfdThePidServes) {
  for (const int error : {ENOSYS, EPERM, EINVAL}) {
    Child child = Child::adopt(os_test::PlainChild{[] { ::_exit(9); }}.release(), {}).or_throw("adopt");
    ASSERT_TRUE(child.wait(Deadline::never()).value());
    const os_test::Refusing refusing{"waitid_pidfd", error, 1, 100};

    EXPECT_EQ(child.reap().value(), ExitStatus::exited_with(9)) << std::strerror(error);
  }
}

TEST(ChildFallbackTest, WhereTheKernelCantSignalAPidfdThePidServes) {
  for (const int error : {ENOSYS, EPERM}) {
    Child child = Child::adopt(os_test::PlainChild{os_test::pause_for_ever}.release(), {}).or_throw("adopt");
    {
      const os_test::Refusing refusing{"pidfd_send_signal", error, 1, 100};
      EXPECT_TRUE(child.send(SIGTERM)) << std::strerror(error);
    }
    EXPECT_TRUE(child.wait(Deadline::never()).value());
    EXPECT_EQ(child.reap().value(), ExitStatus::killed_by(SIGTERM));
  }
}

TEST(ChildFallbackTest, AnotherUsersChildIsEperm) {
  Child child = Child::adopt(os_test::PlainChild{os_test::pause_for_ever}.release(), {}).or_throw("adopt");
  {
    multiproc::os::fault::arm("kill", EPERM);
    const os_test::Refusing refusing{"pidfd_send_signal", EPERM};
    EXPECT_EQ(child.send(SIGTERM).error(), EPERM);
  }
  child.destroy();
}

TEST(AdoptTest, AChildThatNobodyCanWatchIsKilledAndReaped) {
  os_test::expect_each_refusal("pidfd_open", {EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM, ENODEV}, [] {
    auto child = Child::adopt(os_test::PlainChild{os_test::pause_for_ever}.release(), {});
    if (child) child.value().destroy();
    return child;
  });
}

TEST(AdoptTest, AChildThatIsGoneBeforeItCouldBeWatchedHasEnded) {
  const auto result = support::in_child([] {
    ::signal(SIGCHLD, SIG_IGN);
    const pid_t pid = os_test::PlainChild{[] {}}.release();
    while (::kill(pid, 0) == 0) std::this_thread::yield();

    auto child = Child::adopt(pid, {});

    ASSERT_TRUE(child) << child.error();
    EXPECT_EQ(child.value().pid(), pid);
    EXPECT_TRUE(child.value().wait(Deadline::never()).value());
    EXPECT_TRUE(wait_readable(child.value().sentinel(), Deadline::never()).value());
    EXPECT_TRUE(child.value().send(SIGKILL));
    EXPECT_EQ(child.value().reap().value(), ExitStatus::unknown());
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(AdoptTest, AChildThatIsGoneNeedsNoDescriptor) {
  const auto result = support::in_child([] {
    ::signal(SIGCHLD, SIG_IGN);
    const pid_t pid = os_test::PlainChild{[] {}}.release();
    while (::kill(pid, 0) == 0) std::this_thread::yield();
    const os_test::Refusing refusing{"eventfd", EMFILE};

    auto child = Child::adopt(pid, {});

    ASSERT_TRUE(child) << child.error();
    EXPECT_EQ(child.value().sentinel(), -1);
    EXPECT_TRUE(child.value().wait(Deadline::never()).value());
    EXPECT_EQ(child.value().reap().value(), ExitStatus::unknown());
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

// A debugger that has not let go of it: the pidfd is readable, and there is nothing to reap.
TEST(TracedChildTest, HasNotEndedBeforeItsTracerLetsItGo) {
  Child child = fork_child({}, os_test::pause_for_ever).or_throw("fork");
  PipeEnds attached = make_pipe().or_throw("pipe");
  PipeEnds leash = make_pipe().or_throw("pipe");
  os_test::PlainChild tracer{[&] {
    leash.write.reset();
    if (::ptrace(PTRACE_SEIZE, child.pid(), nullptr, nullptr) != 0) ::_exit(1);
    attached.write.reset();
    std::byte one{};
    (void)read_some(leash.read.get(), {&one, 1});
    ::_exit(0);
  }};
  attached.write.reset();
  std::byte one{};
  ASSERT_EQ(read_some(attached.read.get(), {&one, 1}).value(), 0U);
  ASSERT_TRUE(child.send(SIGKILL));
  ASSERT_TRUE(wait_readable(child.sentinel(), Deadline::never()).value());

  const auto waited = child.wait(20ms);
  const auto reaped = child.reap();

  EXPECT_FALSE(waited.value());
  EXPECT_EQ(reaped.value(), std::nullopt);
  leash.write.reset();
  EXPECT_EQ(tracer.wait(), 0) << "PTRACE_SEIZE was refused";
  EXPECT_TRUE(child.wait(Deadline::never()).value());
  EXPECT_EQ(child.reap().value(), ExitStatus::killed_by(SIGKILL));
}

// A child that may do without a pidfd for as long as nobody needs it.
Child bear_newborn(void (*life)()) {
  ChildSetup setup;
  setup.settles_later = true;
  return fork_child(setup, life).or_throw("fork");
}

TEST(NewbornTest, CostsNoDescriptorToBeWaitedFor) {
  if (!has_pidfd()) GTEST_SKIP() << "no pidfds here";
  const auto before = os_test::descriptors();
  Child child = bear_newborn([] { ::_exit(7); });

  EXPECT_EQ(os_test::descriptors(), before);
  EXPECT_EQ(child.wait_and_reap().value(), ExitStatus::exited_with(7));
  EXPECT_EQ(os_test::descriptors(), before);
}

TEST(NewbornTest, SettledItIsLikeAnyOther) {
  if (!has_pidfd()) GTEST_SKIP() << "no pidfds here";
  Child child = bear_newborn(os_test::pause_for_ever);

  ASSERT_TRUE(child.settle());

  EXPECT_FALSE(child.is_newborn());
  EXPECT_FALSE(child.wait(1ms).value());
  EXPECT_TRUE(child.send(SIGKILL));
  EXPECT_TRUE(wait_readable(child.sentinel(), Deadline::never()).value());
  EXPECT_EQ(child.reap().value(), ExitStatus::killed_by(SIGKILL));
  EXPECT_TRUE(child.settle());
}

TEST(NewbornTest, ARefusalIsReportedAndCanBeTriedAgain) {
  if (!has_pidfd()) GTEST_SKIP() << "no pidfds here";
  Child child = bear_newborn(os_test::pause_for_ever);
  {
    const os_test::Refusing refusing{"pidfd_open", EMFILE};
    EXPECT_EQ(child.settle().error(), EMFILE);
  }
  EXPECT_TRUE(child.send(SIGKILL)) << "the pid will do";
  EXPECT_TRUE(child.wait(Deadline::never()).value()) << "it is looked at now and then";
  EXPECT_TRUE(child.settle());
  EXPECT_EQ(child.reap().value(), ExitStatus::killed_by(SIGKILL));
}

TEST(NewbornTest, AStatusThatWasTakenMeanwhileIsUnknown) {
  for (const bool settles : {false, true}) {
    Child child = bear_newborn([] { ::_exit(7); });
    ASSERT_EQ(::waitpid(child.pid(), nullptr, 0), child.pid());

    if (settles) {
      EXPECT_TRUE(child.settle());
    }

    EXPECT_EQ(child.wait_and_reap().value(), ExitStatus::unknown());
  }
}

TEST(NewbornTest, WaitingGoesOnAfterASignal) {
  Child child = bear_newborn([] { ::_exit(7); });
  const os_test::Refusing refusing{"waitid", EINTR, 1, 3};

  EXPECT_EQ(child.wait_and_reap().value(), ExitStatus::exited_with(7));
}

// The number comes round to another child of this process, which somebody else made.
TEST(NewbornTest, AStrangerWithItsPidIsLeftAlone) {
  if (::geteuid() != 0 || !has_pidfd()) GTEST_SKIP() << "needs root, to choose a pid";
  Child child = bear_newborn([] { ::_exit(7); });
  pid_t pid = child.pid();
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);  // the thief
  while (child.is_newborn()) std::this_thread::sleep_for(1ms);
  clone_args arguments{};
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<std::uint64_t>(&pid);
  arguments.set_tid_size = 1;
  const long stranger = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (stranger == 0) {
    for (;;) ::pause();
  }
  if (stranger != pid) GTEST_SKIP() << "no pid can be chosen here";

  EXPECT_TRUE(child.settle());
  EXPECT_TRUE(child.send(SIGKILL));
  EXPECT_TRUE(child.wait(Deadline::never()).value());
  EXPECT_EQ(child.reap().value(), ExitStatus::unknown());

  EXPECT_EQ(::waitpid(pid, nullptr, WNOHANG), 0) << "the stranger was killed or reaped";
  ::kill(pid, SIGKILL);
  EXPECT_EQ(::waitpid(pid, nullptr, 0), pid);
}

TEST(OpenPidfdTest, NoSuchProcessIsEsrch) {
  const pid_t gone = [] {
    os_test::PlainChild child{[] {}};
    const pid_t pid = child.pid();
    (void)child.wait();
    return pid;
  }();

  EXPECT_EQ(open_pidfd(gone).error(), ESRCH);
  EXPECT_EQ(open_pidfd(-1).error(), EINVAL);
  os_test::expect_each_refusal("pidfd_open", {EMFILE, ENOSYS}, [] { return open_pidfd(::getpid()); });
}

TEST(HasPidfdTest, IsAskedOnceAndTellsARefusalOfTheKernelFromALackOfRoom) {
  // In fresh processes: the answer is kept.
  const auto ask = [](const char* error) {
    return support::run_program("/proc/self/exe", {"--gtest_also_run_disabled_tests", "--gtest_filter=DISABLED_*"},
                                {.env = {{"MULTIPROC_TEST_PIDFD", error}}})
        .out;
  };

  EXPECT_NE(ask("0").find("pidfds: 1 1"), std::string::npos);
  EXPECT_NE(ask(std::to_string(ENOSYS).c_str()).find("pidfds: 0 0"), std::string::npos);
  EXPECT_NE(ask(std::to_string(EPERM).c_str()).find("pidfds: 0 0"), std::string::npos);
  EXPECT_NE(ask(std::to_string(EMFILE).c_str()).find("pidfds: 1 1"), std::string::npos);
}

TEST(DISABLED_HasPidfdTest, AnswersForTheTestAbove) {
  const char* const error = std::getenv("MULTIPROC_TEST_PIDFD");
  ASSERT_NE(error, nullptr);
  bool first = false;
  {
    const os_test::Refusing refusing{"pidfd_open", std::atoi(error)};
    first = has_pidfd();
  }
  std::printf("pidfds: %d %d\n", first, has_pidfd());
}

}  // namespace
