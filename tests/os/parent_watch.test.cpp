// SPDX-License-Identifier: MIT

#include <multiproc/os/parent_watch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <multiproc/os/launch.hpp>
#include <multiproc/os/socket.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;
using multiproc::Deadline;

// Three generations: the test, a parent that will die, and its child, whose end the test sees by the close of a pipe
// that nobody but the child holds.
struct Family {
  PipeEnds life = make_pipe().or_throw("pipe");                     // the child holds the write end
  PipeEnds leash = make_pipe().or_throw("pipe");                    // the test holds the write end: bystanders go
  std::array<Fd, 2> talk = make_socket_pair().or_throw("sockets");  // [0] the test, [1] the parent and the child

  // The child's whole life: says that it is there, then answers every byte with the same byte.
  [[noreturn]] void answer_for_ever() {
    life.read.reset();
    leash.write.reset();
    talk[0].reset();
    for (;;) {
      std::byte one{};
      if (!receive_all(talk[1].get(), {&one, 1}, Deadline::never())) os_test::pause_for_ever();
      (void)send_all(talk[1].get(), {&one, 1}, Deadline::never());
    }
  }
  bool answers() {
    std::byte one{42};
    return send_all(talk[0].get(), {&one, 1}, Deadline::never()) &&
           receive_all(talk[0].get(), {&one, 1}, Deadline::never());
  }
  // Of the parent, once the child is born.
  void leave_life_to_the_child() { life.write.reset(); }

  // A child of the parent that outlives it, until the test is over.
  [[noreturn]] void stand_by() {
    leash.write.reset();
    std::byte one{};
    (void)read_some(leash.read.get(), {&one, 1});
    ::_exit(0);
  }
  // Of the test: waits until the child is dead. It hangs, and the watchdog tells, when the child lives on.
  void wait_for_the_childs_end() {
    life.write.reset();
    std::byte one{};
    const auto end = read_some(life.read.get(), {&one, 1});
    ASSERT_TRUE(end);
    EXPECT_EQ(end.value(), 0U);
  }
  void parent_is_ready() { (void)send_all(talk[1].get(), os_test::bytes_of("!"), Deadline::never()); }
  void wait_for_the_parent() {
    std::byte one{};
    ASSERT_TRUE(receive_all(talk[0].get(), {&one, 1}, Deadline::never()));
  }
};

// In the parent: starts the watched child from a thread that ends at once, as a user's thread may.
// `before_life` runs in the child once it is watched.
void start_from_a_thread(Family& family, Lifeline& lifeline, const std::function<void()>& before_life = {},
                         pid_t* pid = nullptr) {
  std::thread{[&] {
    const ParentWatch watch = lifeline.open().or_throw("lifeline");
    const Child child = fork_child({.watch = watch}, [&] {
                          if (before_life) before_life();
                          family.answer_for_ever();
                        }).or_throw("fork");
    lifeline.child_end().reset();
    if (pid != nullptr) *pid = child.pid();
  }}.join();
  family.leave_life_to_the_child();
}

TEST(LifelineTest, OnlyTheMainThreadHasTheSignalOfItsDeathToo) {
  Lifeline lifeline;

  EXPECT_TRUE(lifeline.open().or_throw("lifeline").by_main_thread);
  std::thread{[&] { EXPECT_FALSE(lifeline.open().or_throw("lifeline").by_main_thread); }}.join();
}

TEST(LifelineTest, IsAPipeThatGoesWithIt) {
  const auto before = os_test::descriptors();
  {
    Lifeline lifeline;
    const auto watch = lifeline.open();
    ASSERT_TRUE(watch);
    EXPECT_EQ(watch.value().parent, ::getpid());
    EXPECT_EQ(watch.value().lifeline, lifeline.child_end().get());
    EXPECT_EQ(os_test::descriptors().size(), before.size() + 2);
    for (const auto& [fd, target] : os_test::descriptors()) {
      EXPECT_TRUE(before.contains(fd) || os_test::is_close_on_exec(fd)) << target;
    }
  }
  EXPECT_EQ(os_test::descriptors(), before);
}

TEST(LifelineTest, ARefusedPipeIsReportedAndLeavesNothing) {
  os_test::expect_each_refusal("pipe2", {EMFILE, ENFILE, ENOMEM}, [] {
    Lifeline lifeline;
    return lifeline.open();
  });
}

TEST(LifelineTest, OpenedOnceMoreItIsANewOne) {
  const auto before = os_test::descriptors();
  {
    Lifeline lifeline;
    ASSERT_TRUE(lifeline.open());
    ASSERT_TRUE(lifeline.open());
    ASSERT_TRUE(lifeline.open());
    EXPECT_EQ(os_test::descriptors().size(), before.size() + 2);
    os_test::PlainChild child{[] {}};  // a list that leads to itself would keep the child in its fork for ever
    EXPECT_EQ(child.wait(), 0);
  }
  EXPECT_EQ(os_test::descriptors(), before);
}

TEST(LifelineTest, ForkedChildrenHoldNoneAndMayDropTheirCopies) {
  const auto before = os_test::descriptors();
  std::list<Lifeline> lifelines(20);
  std::vector<int> read_ends;
  for (Lifeline& lifeline : lifelines) read_ends.push_back(lifeline.open().or_throw("lifeline").lifeline);
  for (const int gone : {0, 19, 10}) lifelines.erase(std::next(lifelines.begin(), std::min(gone, 17)));

  const auto result = support::in_child([&] {
    auto held = os_test::descriptors();
    std::size_t pipes = 0;
    for (const auto& [fd, target] : held) {
      // A pipe of ours that can be written: its mode says so.
      if (before.contains(fd) || fd <= 2 || !target.starts_with("pipe:")) continue;
      pipes += (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY ? 1U : 0U;
    }
    EXPECT_EQ(pipes, 0U);
    lifelines.clear();
    os_test::PlainChild grandchild{[] {}};
    EXPECT_EQ(grandchild.wait(), 0);
  });

  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(LifelineTest, ChildrenForkedWhileLifelinesComeAndGoHoldNone) {
  const auto before = os_test::descriptors();
  std::atomic<bool> over{false};
  std::thread other{[&] {
    while (!over) {
      Lifeline lifeline;
      (void)lifeline.open();
    }
  }};

  int held = 0;
  for (int round = 0; round < 500; ++round) {
    os_test::PlainChild child{[&] {
      for (int fd = 3; fd < 64; ++fd) {
        if (!before.contains(fd) && (::fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY && os_test::is_open(fd)) ::_exit(1);
      }
    }};
    held += WEXITSTATUS(child.wait());
  }
  over = true;
  other.join();

  EXPECT_EQ(held, 0) << "children of 500 that keep an end of their parent unseen";
}

TEST(ParentWatchTest, NobodyToWatchIsNothingToDo) {
  EXPECT_TRUE(watch_parent({}));
}

TEST(ParentWatchTest, AParentThatIsGoneAlreadyEndsTheChildAtOnce) {
  auto pipe = make_pipe().or_throw("pipe");
  pipe.write.reset();

  const auto stranger = support::in_child([] { (void)watch_parent({.parent = ::getpid(), .lifeline = -1}); });
  const auto closed =
      support::in_child([&] { (void)watch_parent({.parent = ::getppid(), .lifeline = pipe.read.get()}); });
  const auto blocked = support::in_child([] {
    sigset_t all;
    ::sigfillset(&all);
    ::sigprocmask(SIG_SETMASK, &all, nullptr);
    (void)watch_parent({.parent = ::getpid(), .lifeline = -1});
  });

  EXPECT_EQ(stranger.status, -SIGKILL);
  EXPECT_EQ(closed.status, -SIGKILL);
  EXPECT_EQ(blocked.status, -SIGKILL);
}

TEST(ParentWatchTest, RefusalsAreReported) {
  const auto result = support::in_child([] {
    EXPECT_EQ(watch_parent({.parent = ::getppid(), .lifeline = 1'000'000}).error(), EBADF);
    const os_test::Refusing refusing{"prctl", EPERM};
    EXPECT_EQ(watch_parent({.parent = ::getppid(), .lifeline = -1}).error(), EPERM);
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(ParentWatchTest, TheParentsSigkillEndsAChildOfItsMainThread) {
  Family family;
  os_test::PlainChild parent{[&] {
    Lifeline lifeline;
    const ParentWatch watch = lifeline.open().or_throw("lifeline");
    (void)fork_child({.watch = watch}, [&] { family.answer_for_ever(); }).or_throw("fork");
    family.leave_life_to_the_child();
    os_test::pause_for_ever();
  }};
  EXPECT_TRUE(family.answers());

  ::kill(parent.pid(), SIGKILL);

  family.wait_for_the_childs_end();
}

// How the child may be when its parent dies; all of it must end it.
struct Condition {
  const char* name;
  std::function<void()> in_child;
  bool stopped = false;
};

class WatchedChildTest : public testing::TestWithParam<Condition> {};
INSTANTIATE_TEST_SUITE_P(Conditions, WatchedChildTest,
                         testing::Values(Condition{"Plain", {}},
                                         Condition{"WithAllSignalsBlocked",
                                                   [] {
                                                     sigset_t all;
                                                     ::sigfillset(&all);
                                                     ::sigprocmask(SIG_SETMASK, &all, nullptr);
                                                   }},
                                         Condition{"WithAllSignalsIgnored",
                                                   [] {
                                                     for (int signal = 1; signal <= SIGRTMAX; ++signal)
                                                       ::signal(signal, SIG_IGN);
                                                   }},
                                         Condition{"InASessionOfItsOwn", [] { ::setsid(); }},
                                         Condition{"Stopped", {}, true}),
                         [](const auto& condition) { return condition.param.name; });

TEST_P(WatchedChildTest, EndsWithItsParentAndNotWithTheThreadThatStartedIt) {
  Family family;
  const Condition& condition = GetParam();
  os_test::PlainChild parent{[&] {
    Lifeline lifeline;
    pid_t pid = -1;
    start_from_a_thread(family, lifeline, condition.in_child, &pid);
    if (condition.stopped) {
      ::kill(pid, SIGSTOP);
      siginfo_t info{};
      ::waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED);
    }
    family.parent_is_ready();
    os_test::pause_for_ever();
  }};
  family.wait_for_the_parent();  // the thread has ended
  for (int i = 0; i < 20 && !condition.stopped; ++i) ASSERT_TRUE(family.answers());

  ::kill(parent.pid(), SIGKILL);

  family.wait_for_the_childs_end();
}

class ParentEndTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Ends, ParentEndTest, testing::Values(0, SIGTERM, SIGABRT, SIGSEGV));

TEST_P(ParentEndTest, EndsTheChildHoweverItCame) {
  Family family;
  os_test::PlainChild parent{[&] {
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    if (GetParam() != 0) ::signal(GetParam(), SIG_DFL);
    Lifeline lifeline;
    start_from_a_thread(family, lifeline);
    family.parent_is_ready();
    family.leash.write.reset();
    std::byte one{};
    (void)read_some(family.leash.read.get(), {&one, 1});
    if (GetParam() == 0) ::_exit(3);
    ::raise(GetParam());
  }};
  family.wait_for_the_parent();
  ASSERT_TRUE(family.answers());

  family.leash.write.reset();

  family.wait_for_the_childs_end();
}

TEST(WatchTest, TheParentsOtherChildrenDoNotKeepTheChildAlive) {
  Family family;
  os_test::PlainChild parent{[&] {
    Lifeline lifeline;
    start_from_a_thread(family, lifeline);
    family.leash.write.reset();
    // Forks from the main thread, from another thread, by the library, and a program that is executed.
    for (int i = 0; i < 3; ++i) {
      if (::fork() == 0) family.stand_by();
    }
    std::thread{[&] {
      if (::fork() == 0) family.stand_by();
    }}.join();
    (void)fork_child({}, [&] { family.stand_by(); }).or_throw("fork");
    const std::string leash = std::to_string(family.leash.read.get());
    std::string command = "read x <&" + leash;
    std::string shell = "/bin/bash";
    std::string option = "-c";
    char* arguments[] = {shell.data(), option.data(), command.data(), nullptr};
    const int inherited[] = {family.leash.read.get()};
    (void)spawn_child("/bin/bash", arguments, environ, inherited, -1).or_throw("spawn");
    family.parent_is_ready();
    os_test::pause_for_ever();
  }};
  family.wait_for_the_parent();
  ASSERT_TRUE(family.answers());

  ::kill(parent.pid(), SIGKILL);

  family.wait_for_the_childs_end();
}

TEST(WatchTest, AForkInAnotherThreadAtAnyMomentDoesNotKeepTheChildAlive) {
  for (int round = 0; round < 20; ++round) {
    Family family;
    os_test::PlainChild parent{[&] {
      family.leash.write.reset();
      std::atomic<bool> started{false};
      // By its number: a fork copies the descriptors before the memory, so what it says here may be newer.
      const int childs_life = family.life.write.get();
      std::thread forks{[&] {
        for (int i = 0; i < 10 || !started; ++i) {
          const pid_t bystander = ::fork();
          if (bystander == 0) {
            ::close(childs_life);
            family.stand_by();
          }
          if (i > 50) break;
        }
      }};
      Lifeline lifeline;
      start_from_a_thread(family, lifeline);
      started = true;
      forks.join();
      family.parent_is_ready();
      os_test::pause_for_ever();
    }};
    family.wait_for_the_parent();

    ::kill(parent.pid(), SIGKILL);

    family.wait_for_the_childs_end();
  }
}

TEST(WatchTest, AParentKilledAtAnyMomentOfTheStartLeavesNoChild) {
  // From before the fork to long after it: the child ends, or was never born.
  for (int round = 0; round < 60; ++round) {
    const bool from_a_thread = round % 2 == 0;
    Family family;
    os_test::PlainChild parent{[&] {
      family.parent_is_ready();
      Lifeline lifeline;
      if (from_a_thread) {
        start_from_a_thread(family, lifeline);
      } else {
        const ParentWatch watch = lifeline.open().or_throw("lifeline");
        (void)fork_child({.watch = watch}, [&] { family.answer_for_ever(); }).or_throw("fork");
      }
      family.leave_life_to_the_child();
      os_test::pause_for_ever();
    }};
    family.wait_for_the_parent();
    const auto until = std::chrono::steady_clock::now() + round * 20us;
    while (std::chrono::steady_clock::now() < until) {
    }

    ::kill(parent.pid(), SIGKILL);

    family.wait_for_the_childs_end();
  }
}

TEST(WatchTest, AGrandchildIsNobodysBusinessAndDoesNotHoldItUp) {
  Family family;
  os_test::PlainChild parent{[&] {
    Lifeline lifeline;
    start_from_a_thread(family, lifeline, [&] {
      if (::fork() == 0) {
        family.life.write.reset();
        family.leash.write.reset();
        family.stand_by();
      }
    });
    family.leash.write.reset();
    family.parent_is_ready();
    os_test::pause_for_ever();
  }};
  family.wait_for_the_parent();
  ASSERT_TRUE(family.answers());

  ::kill(parent.pid(), SIGKILL);

  family.wait_for_the_childs_end();
}

TEST(WatchTest, TheLifelinesEndIsTheChildsEnd) {
  Family family;
  auto lifeline = std::make_unique<Lifeline>();
  Child child;
  std::thread{[&] {
    const ParentWatch watch = lifeline->open().or_throw("lifeline");
    child = fork_child({.watch = watch}, [&] { family.answer_for_ever(); }).or_throw("fork");
    lifeline->child_end().reset();
  }}.join();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(family.answers());

  lifeline.reset();

  family.wait_for_the_childs_end();
  EXPECT_TRUE(child.wait(Deadline::never()).value());
  EXPECT_EQ(child.reap().value(), multiproc::ExitStatus::killed_by(SIGKILL));
}

}  // namespace
