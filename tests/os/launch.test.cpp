// SPDX-License-Identifier: MIT

#include <multiproc/os/launch.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <sched.h>

#include <gtest/gtest.h>

#include <multiproc/os/pipe.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"
#include "support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;
using multiproc::Deadline;
using multiproc::ExitStatus;

ExitStatus end_of(Child& child) {
  EXPECT_TRUE(child.wait(Deadline::never()).value());
  return child.reap().value().value_or(ExitStatus::unknown());
}

// Forks a child that runs `body`, whose result is its exit code.
template <class Body>
Result<Child> fork_to(const ChildSetup& setup, Body body) {
  return fork_child(setup, [&] { ::_exit(body()); });
}

template <class Body>
ExitStatus run_in_fork(const ChildSetup& setup, Body body) {
  Child child = fork_to(setup, body).or_throw("fork");
  return end_of(child);
}

class Spawn {
 public:
  explicit Spawn(std::vector<std::string> arguments) : arguments_(std::move(arguments)) {
    for (std::string& argument : arguments_) pointers_.push_back(argument.data());
    pointers_.push_back(nullptr);
  }
  Result<Child> operator()(std::span<const int> inherited = {}, int directory = -1, char** environment = environ) {
    return spawn_child(pointers_[0], pointers_.data(), environment, inherited, directory);
  }

 private:
  std::vector<std::string> arguments_;
  std::vector<char*> pointers_;
};

// All that comes out of the pipe once we have given up our own write end.
std::string text_from(PipeEnds& pipe) {
  pipe.write.reset();
  std::string text;
  std::array<std::byte, 512> buffer{};
  for (;;) {
    const auto got = read_some(pipe.read.get(), buffer);
    if (!got || got.value() == 0) return text;
    text.append(reinterpret_cast<const char*>(buffer.data()), got.value());
  }
}

// What os_list_fds prints, with some numbers more.
std::string with(const std::string& listing, std::span<const int> more) {
  std::set<int> numbers(more.begin(), more.end());
  std::istringstream known{listing};
  for (int fd = 0; known >> fd;) numbers.insert(fd);
  std::string text;
  for (const int fd : numbers) text += std::to_string(fd) + "\n";
  return text;
}

// --- fork -----------------------------------------------------------------------------------------------------------

TEST(ForkChildTest, ReturnsOnceInEachProcess) {
  const pid_t parent = ::getpid();

  EXPECT_EQ(run_in_fork({}, [parent] { return ::getppid() == parent && ::getpid() != parent ? 11 : 1; }),
            ExitStatus::exited_with(11));
}

TEST(ForkChildTest, TheParentsMaskIsAsItWasAndSoIsTheChilds) {
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &only, nullptr);
  const auto is_as_before = [] {
    sigset_t now;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    return ::sigismember(&now, SIGUSR1) == 1 && ::sigismember(&now, SIGTERM) == 0;
  };

  const auto plain = run_in_fork({}, [&] { return is_as_before() ? 0 : 1; });
  const auto with_setup = run_in_fork({.open_files = 100}, [&] { return is_as_before() ? 0 : 1; });
  const bool here = is_as_before();
  ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);

  EXPECT_TRUE(plain.success());
  EXPECT_TRUE(with_setup.success());
  EXPECT_TRUE(here);
}

TEST(ForkChildTest, TheChildHoldsNoDescriptorThatTheParentHadNot) {
  const auto before = os_test::descriptors();

  for (const ChildSetup& setup : {ChildSetup{}, ChildSetup{.open_files = 1000}}) {
    EXPECT_TRUE(run_in_fork(setup, [&] { return os_test::descriptors() == before ? 0 : 1; }).success());
  }
}

TEST(ForkChildTest, SetsLimits) {
  const ChildSetup setup{.memory_bytes = std::uint64_t{1} << 44, .cpu_seconds = 77, .open_files = 123};

  const auto status = run_in_fork(setup, [] {
    rlimit memory{};
    rlimit cpu{};
    rlimit files{};
    ::getrlimit(RLIMIT_AS, &memory);
    ::getrlimit(RLIMIT_CPU, &cpu);
    ::getrlimit(RLIMIT_NOFILE, &files);
    if (memory.rlim_cur != rlim_t{1} << 44 || memory.rlim_max != rlim_t{1} << 44) return 1;
    if (cpu.rlim_cur != 77 || cpu.rlim_max != 78) return 2;
    if (files.rlim_cur != 123 || files.rlim_max != 123) return 3;
    return 0;
  });

  EXPECT_EQ(status, ExitStatus::exited_with(0));
}

TEST(ForkChildTest, TheLargestLimitIsNoLimitAndNotAnOverflow) {
  const ChildSetup setup{.memory_bytes = UINT64_MAX, .cpu_seconds = UINT64_MAX};
  rlimit cpu{};
  ::getrlimit(RLIMIT_CPU, &cpu);
  if (cpu.rlim_max != RLIM_INFINITY) GTEST_SKIP() << "this process has a limit itself";

  EXPECT_EQ(run_in_fork(setup,
                        [] {
                          rlimit now{};
                          ::getrlimit(RLIMIT_CPU, &now);
                          return now.rlim_cur == RLIM_INFINITY ? 0 : 1;
                        }),
            ExitStatus::exited_with(0));
}

TEST(ForkChildTest, AHardLimitOfOurOwnLeavesRoomForTheSoftOne) {
  const auto result = support::in_child([] {
    const rlimit ours{100, 100};
    ::setrlimit(RLIMIT_CPU, &ours);

    const auto status = run_in_fork({.cpu_seconds = 100}, [] {
      rlimit now{};
      ::getrlimit(RLIMIT_CPU, &now);
      return now.rlim_cur == 100 && now.rlim_max == 100 ? 0 : 1;
    });

    EXPECT_EQ(status, ExitStatus::exited_with(0)) << "the grace is not worth a refusal";
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(ForkChildTest, ALimitAboveOurOwnIsRefusedToTheUnprivileged) {
  if (::getuid() != 0) GTEST_SKIP() << "needs a user to become";
  const auto result = support::in_child([] {
    const rlimit ours{100, 100};
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &ours), 0);
    ASSERT_EQ(::setresuid(65534, 65534, 65534), 0);

    const auto refused = fork_to({.open_files = 200}, [] { return 0; });

    EXPECT_EQ(refused.error(), EPERM);
    EXPECT_STREQ(refused.failure().call, "setrlimit(RLIMIT_NOFILE)");
    EXPECT_TRUE(os_test::has_no_child());
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(ForkChildTest, PinsToCpus) {
  cpu_set_t ours;
  ASSERT_EQ(::sched_getaffinity(0, sizeof ours, &ours), 0);
  int cpu = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(cpu), &ours)) ++cpu;

  EXPECT_TRUE(run_in_fork({.cpus = {cpu}}, [cpu] {
                cpu_set_t theirs;
                ::sched_getaffinity(0, sizeof theirs, &theirs);
                return CPU_COUNT(&theirs) == 1 && CPU_ISSET(static_cast<std::size_t>(cpu), &theirs) ? 0 : 1;
              }).success());
}

TEST(ForkChildTest, StartsInADirectory) {
  const Fd folder = open_directory("/proc/sys").or_throw("folder");

  EXPECT_TRUE(run_in_fork({.directory = folder.get()}, [] {
                char path[PATH_MAX];
                return ::getcwd(path, sizeof path) != nullptr && std::string_view{path} == "/proc/sys" ? 0 : 1;
              }).success());
  EXPECT_EQ(fcntl(folder.get(), F_GETFD), FD_CLOEXEC);
}

TEST(ForkChildTest, GetsItsEnvironment) {
  char variable[] = "MULTIPROC_TEST_VARIABLE=yes";
  char* environment[] = {variable, nullptr};

  for (const auto files : {std::optional<std::uint64_t>{}, std::optional<std::uint64_t>{100}}) {
    EXPECT_TRUE(run_in_fork({.open_files = files, .environment = environment}, [] {
                  const char* const value = std::getenv("MULTIPROC_TEST_VARIABLE");
                  return value != nullptr && std::string_view{value} == "yes" && std::getenv("PATH") == nullptr ? 0 : 1;
                }).success());
  }
  EXPECT_EQ(std::getenv("MULTIPROC_TEST_VARIABLE"), nullptr);
}

TEST(ForkChildTest, ASetupThatIsRefusedIsReportedWithItsCallAndLeavesNoChild) {
  const auto before = os_test::descriptors();
  const struct {
    ChildSetup setup;
    int error;
    const char* call;
  } cases[] = {
      {{.cpus = {-1}}, EINVAL, "sched_setaffinity"},
      {{.cpus = {1'000'000}}, EINVAL, "sched_setaffinity"},
      {{.cpus = {8191}}, EINVAL, "sched_setaffinity"},
      {{.directory = 1'000'000}, EBADF, "chdir"},
      {{.open_files = UINT64_MAX - 1}, EPERM, "setrlimit(RLIMIT_NOFILE)"},
      {{.watch = {.parent = ::getpid(), .lifeline = 1'000'000}}, EBADF, "fcntl(F_SETOWN)"},
  };
  for (const auto& [setup, error, call] : cases) {
    SCOPED_TRACE(call);

    const auto refused = fork_to(setup, [] { return 0; });

    EXPECT_EQ(refused.error(), error);
    EXPECT_STREQ(refused.failure().call, call);
    EXPECT_TRUE(os_test::has_no_child());
    EXPECT_EQ(os_test::descriptors(), before);
  }
}

TEST(ForkChildTest, EachCallThatIsRefusedInParentOrChildLeavesNothing) {
  const Fd folder = open_directory("/").or_throw("folder");
  const ChildSetup setup{.memory_bytes = std::uint64_t{1} << 44,
                         .cpu_seconds = 77,
                         .open_files = 1000,
                         .cpus = {0},
                         .directory = folder.get(),
                         .watch = {.parent = ::getpid(), .lifeline = -1}};
  const auto launch = [&] {
    auto child = fork_to(setup, [] { return 0; });
    if (child) child.value().destroy();
    return child;
  };
  ASSERT_TRUE(has_pidfd());

  os_test::expect_each_refusal("pipe2", {EMFILE, ENFILE, ENOMEM}, launch);
  os_test::expect_each_refusal("eventfd", {EMFILE, ENFILE}, launch);
  os_test::expect_each_refusal("fork", {EAGAIN, ENOMEM, ENOSYS, EPERM}, launch);
  os_test::expect_each_refusal("pidfd_open", {EMFILE, ENFILE, ENOMEM, ENODEV}, launch);
  os_test::expect_each_refusal("poll", {ENOMEM}, launch);
}

TEST(ForkChildTest, EachCallThatIsRefusedInTheChildIsReportedByTheParent) {
  // The counts are the child's own, and lost with it, so the sweep goes by what is known to be made.
  const Fd folder = open_directory("/").or_throw("folder");
  const struct {
    ChildSetup setup;
    const char* call;
    int calls;
  } cases[] = {
      {{.memory_bytes = std::uint64_t{1} << 44, .cpu_seconds = 77, .open_files = 1000}, "setrlimit", 3},
      {{.cpus = {0}}, "sched_setaffinity", 1},
      {{.directory = folder.get()}, "fchdir", 1},
      {{.watch = {.parent = ::getpid(), .lifeline = -1}}, "prctl", 1},
  };
  for (const auto& [setup, call, calls] : cases) {
    for (int nth = 1; nth <= calls + 1; ++nth) {
      for (const int error : {EPERM, EINVAL, ENOSYS, ENOMEM}) {
        SCOPED_TRACE(std::string{call} + " " + std::to_string(nth));
        const auto before = os_test::descriptors();
        const os_test::Refusing refusing{call, error, nth};

        auto child = fork_to(setup, [] { return 0; });

        EXPECT_EQ(child.error(), nth <= calls ? error : 0);
        if (child) child.value().destroy();
        child = Failure{"", EIO};
        EXPECT_TRUE(os_test::has_no_child());
        EXPECT_EQ(os_test::descriptors(), before);
      }
    }
  }
}

TEST(ForkChildTest, AFullDescriptorTableIsFoundBeforeTheBirthWhateverRoomIsLeft) {
  for (unsigned spare = 0; spare < 4; ++spare) {
    const auto result = support::in_child([spare] {
      ASSERT_TRUE(has_pidfd());
      const auto before = os_test::descriptors();
      rlimit usual{};
      ::getrlimit(RLIMIT_NOFILE, &usual);
      os_test::leave_room_for(spare);
      // A plain child wants a pidfd alone, one with a setup two ends of a pipe as well.
      auto plain = fork_to({}, [] { return 0; });
      auto with_setup = fork_to({.cpu_seconds = 1000}, [] { return 0; });
      ::setrlimit(RLIMIT_NOFILE, &usual);

      EXPECT_EQ(plain.error(), spare >= 1 ? 0 : EMFILE);
      EXPECT_EQ(with_setup.error(), spare >= 4 ? 0 : EMFILE);
      if (plain) plain.value().destroy();
      plain = Failure{"", EIO};
      EXPECT_TRUE(os_test::has_no_child());
      EXPECT_EQ(os_test::descriptors(), before);
    });
    EXPECT_EQ(result.status, 0) << "spare: " << spare << "\n" << result.out << result.err;
  }
}

TEST(ForkChildTest, AFullProcessTableIsEagain) {
  if (::getuid() != 0) GTEST_SKIP() << "needs a user to become";
  const auto result = support::in_child([] {
    ASSERT_EQ(::setresuid(65533, 65533, 65533), 0);
    const rlimit none{0, 0};
    ASSERT_EQ(::setrlimit(RLIMIT_NPROC, &none), 0);

    EXPECT_EQ(fork_to({}, [] { return 0; }).error(), EAGAIN);
    EXPECT_EQ(fork_to({.cpu_seconds = 10}, [] { return 0; }).error(), EAGAIN);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(ForkChildTest, AChildThatIsKilledInItsSetupHasBeenLaunchedAndSaysSo) {
  // The kernel ends it: a lifeline whose parent is somebody else means that the parent is gone.
  const ChildSetup setup{.watch = {.parent = 1, .lifeline = -1}};

  auto child = fork_to(setup, [] { return 0; });

  ASSERT_TRUE(child) << child.error();
  EXPECT_EQ(end_of(child.value()), ExitStatus::killed_by(SIGKILL));
}

TEST(ForkChildTest, ARefusalIsNeverTakenForASuccessHoweverFastTheChildDies) {
  for (int round = 0; round < 300; ++round) {
    ASSERT_EQ(fork_to({.cpus = {-1}}, [] { return 0; }).error(), EINVAL) << "round " << round;
  }
}

TEST(ForkChildTest, AnotherForkOfThisProcessDoesNotHoldUpTheReport) {
  // A child that was forked between pipe2 and our own fork holds the report's write end for as long as it lives.
  std::atomic<bool> over{false};
  std::thread other{[&] {
    while (!over) {
      const os_test::PlainChild bystander{[] { std::this_thread::sleep_for(1ms); }};
      std::this_thread::sleep_for(200us);
    }
  }};

  for (int round = 0; round < 100; ++round) {
    auto child = fork_to({.cpu_seconds = 1000}, [] { return 0; });
    if (child) (void)end_of(child.value());
    auto killed = fork_to({.watch = {.parent = 1, .lifeline = -1}}, [] { return 0; });
    EXPECT_TRUE(child && killed);
    (void)end_of(killed.value());
  }
  over = true;
  other.join();
}

TEST(ForkChildTest, WithoutPidfdsItServesAllTheSame) {
  // In a fresh process, for the answer is kept.
  const auto result = support::run_program(
      "/proc/self/exe", {"--gtest_also_run_disabled_tests", "--gtest_filter=DISABLED_WithoutPidfds.*"});

  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("[  PASSED  ] 2 tests"), std::string::npos) << result.out;
}

class DISABLED_WithoutPidfds : public testing::Test {
 protected:
  DISABLED_WithoutPidfds() {
    const os_test::Refusing refusing{"pidfd_open", ENOSYS, 1, 100};
    EXPECT_FALSE(has_pidfd());
  }
};

TEST_F(DISABLED_WithoutPidfds, ForksAndSpawns) {
  for (const ChildSetup& setup : {ChildSetup{}, ChildSetup{.cpu_seconds = 1000}}) {
    EXPECT_EQ(run_in_fork(setup, [] { return 13; }), ExitStatus::exited_with(13));
    Child child = fork_to(setup, []() -> int { os_test::pause_for_ever(); }).or_throw("fork");
    EXPECT_FALSE(child.wait(10ms).value());
    EXPECT_TRUE(child.send(SIGTERM));
    EXPECT_EQ(end_of(child), ExitStatus::killed_by(SIGTERM));
  }
  EXPECT_EQ(fork_to({.cpus = {-1}}, [] { return 0; }).error(), EINVAL);
  Child spawned = Spawn{{"/bin/sh", "-c", "exit 14"}}().or_throw("spawn");
  EXPECT_EQ(end_of(spawned), ExitStatus::exited_with(14));
  Child sleeper = Spawn{{"/bin/sleep", "1000"}}().or_throw("spawn");
  EXPECT_FALSE(sleeper.wait(10ms).value()) << "exec must not close the pipe by which the end is seen";
  EXPECT_TRUE(sleeper.send(SIGTERM));
  EXPECT_EQ(end_of(sleeper), ExitStatus::killed_by(SIGTERM));
}

TEST_F(DISABLED_WithoutPidfds, LeaveNothingWhenACallIsRefused) {
  const auto forked = [] {
    auto child = fork_to({.cpu_seconds = 1000}, [] { return 0; });
    if (child) child.value().destroy();
    return child;
  };
  const auto spawned = [] {
    auto child = Spawn{{"/bin/sleep", "1000"}}();
    if (child) child.value().destroy();
    return child;
  };
  os_test::expect_each_refusal("pipe2", {EMFILE}, forked);
  os_test::expect_each_refusal("fork", {EAGAIN}, forked);
  os_test::expect_each_refusal("pipe2", {EMFILE}, spawned);
  os_test::expect_each_refusal("posix_spawn", {EAGAIN}, spawned);
}

// --- spawn ----------------------------------------------------------------------------------------------------------

TEST(SpawnChildTest, ExecutesAProgramWithItsArguments) {
  Child child = Spawn{{"/bin/sh", "-c", "exit $1", "sh", "21"}}().or_throw("spawn");

  EXPECT_EQ(end_of(child), ExitStatus::exited_with(21));
}

TEST(SpawnChildTest, AProgramThatCantBeExecutedIsReportedAndLeavesNoChild) {
  const auto before = os_test::descriptors();
  const struct {
    const char* path;
    int error;
  } cases[] = {{"/nowhere/at/all", ENOENT}, {"/etc/passwd", EACCES}, {"/", EACCES}, {"/bin/sh/more", ENOTDIR}};
  for (const auto& [path, error] : cases) {
    EXPECT_EQ(Spawn{{path}}().error(), error) << path;
    EXPECT_TRUE(os_test::has_no_child());
  }
  EXPECT_EQ(os_test::descriptors(), before);
}

TEST(SpawnChildTest, TooLongArgumentsAreE2big) {
  const std::string much(std::size_t{1} << 18, 'x');  // one argument may have 128 KiB (execve(2))

  EXPECT_EQ((Spawn{{"/bin/true", much}}().error()), E2BIG);
}

TEST(SpawnChildTest, InheritsWhatIsListedUnderItsNumberAndNothingElse) {
  PipeEnds out = make_pipe().or_throw("pipe");
  const PipeEnds not_listed = make_pipe().or_throw("pipe");
  const Fd listed = duplicate_fd(not_listed.read.get()).or_throw("duplicate");
  const int inherited[] = {out.write.get(), listed.get()};
  const auto baseline = support::run_program(support::program("os_list_fds")).out;

  const std::string script = "exec " + support::program("os_list_fds") + " >&" + std::to_string(out.write.get());
  Child child = Spawn{{"/bin/bash", "-c", script}}(inherited).or_throw("spawn");
  const std::string seen = text_from(out);

  EXPECT_TRUE(end_of(child).success());
  EXPECT_EQ(seen, with(baseline, inherited));
  EXPECT_TRUE(os_test::is_close_on_exec(listed.get())) << "here it stays close-on-exec";
}

TEST(SpawnChildTest, ADescriptorThatIsNotOpenIsEbadfAndLeavesNoChild) {
  const int bad[][1] = {{-1}, {1'000}, {1'000'000}};
  for (const auto& inherited : bad) {
    EXPECT_EQ((Spawn{{"/bin/true"}}(inherited).error()), EBADF) << inherited[0];
    EXPECT_TRUE(os_test::has_no_child());
  }
}

TEST(SpawnChildTest, StartsInADirectory) {
  PipeEnds out = make_pipe().or_throw("pipe");
  const Fd folder = open_directory("/proc/sys").or_throw("folder");
  const int inherited[] = {out.write.get()};

  Child child = Spawn{{"/bin/bash", "-c", "/bin/pwd >&" + std::to_string(out.write.get())}}(inherited, folder.get())
                    .or_throw("spawn");

  EXPECT_EQ(text_from(out), "/proc/sys\n");
  EXPECT_TRUE(end_of(child).success());
  EXPECT_EQ((Spawn{{"/bin/true"}}({}, 1'000'000).error()), EBADF);
}

TEST(SpawnChildTest, GetsItsEnvironmentAndNoOther) {
  PipeEnds out = make_pipe().or_throw("pipe");
  const int inherited[] = {out.write.get()};
  char variable[] = "MULTIPROC_TEST_VARIABLE=yes";
  char* environment[] = {variable, nullptr};
  const std::string script = "echo $MULTIPROC_TEST_VARIABLE $HOME >&" + std::to_string(out.write.get());

  Child child = Spawn{{"/bin/bash", "-c", script}}(inherited, -1, environment).or_throw("spawn");

  EXPECT_EQ(text_from(out), "yes\n");
  EXPECT_TRUE(end_of(child).success());
}

TEST(SpawnChildTest, TheMaskOfTheSpawningThreadIsWhatTheProgramHas) {
  Child child = Spawn{{"/bin/sh", "-c", "kill -TERM $$; exit 1"}}().or_throw("spawn");

  EXPECT_EQ(end_of(child), ExitStatus::killed_by(SIGTERM)) << "signals are not blocked there";
}

TEST(SpawnChildTest, EachRefusedCallIsReportedAndLeavesNothing) {
  ASSERT_TRUE(has_pidfd());
  const auto launch = [] {
    auto child = Spawn{{"/bin/sleep", "1000"}}();
    if (child) child.value().destroy();
    return child;
  };

  os_test::expect_each_refusal("eventfd", {EMFILE, ENFILE}, launch);
  os_test::expect_each_refusal("posix_spawn", {EAGAIN, ENOMEM, EINVAL, ENOSYS}, launch);
  os_test::expect_each_refusal("pidfd_open", {EMFILE, ENFILE, ENOMEM, ENODEV}, launch);
}

// Where a seccomp filter refuses the call by which glibc makes the child, ours goes another way to the same end.
class SpawnWithoutClone3Test : public testing::Test {
 private:
  os_test::Refusing refusing_{"posix_spawn", EPERM, 1, 1000};
};

TEST_F(SpawnWithoutClone3Test, ExecutesInADirectoryWithAnEnvironmentAndWhatIsInherited) {
  PipeEnds out = make_pipe().or_throw("pipe");
  const Fd folder = open_directory("/proc/sys").or_throw("folder");
  const int inherited[] = {out.write.get()};
  char variable[] = "MULTIPROC_TEST_VARIABLE=yes";
  char* environment[] = {variable, nullptr};
  const std::string script = "echo $MULTIPROC_TEST_VARIABLE `/bin/pwd` >&" + std::to_string(out.write.get());

  Child child = Spawn{{"/bin/bash", "-c", script}}(inherited, folder.get(), environment).or_throw("spawn");

  EXPECT_EQ(text_from(out), "yes /proc/sys\n");
  EXPECT_TRUE(end_of(child).success());
}

TEST_F(SpawnWithoutClone3Test, InheritsNothingElse) {
  const auto baseline = support::run_program(support::program("os_list_fds")).out;
  PipeEnds out = make_pipe().or_throw("pipe");
  const PipeEnds not_listed = make_pipe().or_throw("pipe");
  const int inherited[] = {out.write.get()};
  const std::string list = support::program("os_list_fds");

  Child child =
      Spawn{{"/bin/bash", "-c", "exec " + list + " >&" + std::to_string(out.write.get())}}(inherited).or_throw("spawn");

  EXPECT_EQ(text_from(out), with(baseline, inherited));
  EXPECT_TRUE(end_of(child).success());
  EXPECT_FALSE(os_test::is_open(inherited[0]));
}

TEST_F(SpawnWithoutClone3Test, SaysWhatTheImageRefusesAndLeavesNoChild) {
  if (os_test::kThreadSanitizer) GTEST_SKIP() << "it makes a fork of each vfork: the child can't tell its parent";
  const auto before = os_test::descriptors();
  const int not_open[] = {1'000'000};

  EXPECT_EQ((Spawn{{"/nowhere/at/all"}}().error()), ENOENT);
  EXPECT_EQ((Spawn{{"/etc/passwd"}}().error()), EACCES);
  EXPECT_EQ((Spawn{{"/bin/true"}}(not_open).error()), EBADF);
  EXPECT_EQ((Spawn{{"/bin/true"}}({}, 1'000'000).error()), EBADF);

  EXPECT_TRUE(os_test::has_no_child());
  EXPECT_EQ(os_test::descriptors(), before);
}

TEST_F(SpawnWithoutClone3Test, TheProgramHasTheMaskOfTheThreadAndItsHandlersAreTheDefault) {
  const os_test::SignalStorm handler{0ns};  // for SIGUSR2; its timer never goes off

  Child child = Spawn{{"/bin/sh", "-c", "kill -USR2 $$; exit 1"}}().or_throw("spawn");

  EXPECT_EQ(end_of(child), ExitStatus::killed_by(SIGUSR2));
  sigset_t now;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
  EXPECT_EQ(::sigismember(&now, SIGTERM), 0);
  ::raise(SIGUSR2);
  EXPECT_EQ(os_test::SignalStorm::signals(), 1) << "and here it is as it was";
}

TEST(SpawnChildTest, TheEndThatTheCallerMadeIsWhatTellsTheChildsEnd) {
  PipeEnds end = make_pipe().or_throw("pipe");  // as make_end() gives it where there are no pidfds
  const auto number = end.read.get();

  Child child = spawn_child("/bin/true", std::array<char*, 2>{const_cast<char*>("true"), nullptr}.data(), environ, {},
                            -1, std::move(end))
                    .or_throw("spawn");

  EXPECT_EQ(child.sentinel(), number);
  EXPECT_TRUE(end_of(child).success());
}

TEST(SpawnChildTest, AFullDescriptorTableIsFoundBeforeTheBirth) {
  const auto result = support::in_child([] {
    ASSERT_TRUE(has_pidfd());
    os_test::leave_room_for(0);

    EXPECT_EQ((Spawn{{"/bin/sleep", "1000"}}().error()), EMFILE);
    EXPECT_TRUE(os_test::has_no_child());
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(OpenDirectoryTest, RefusesWhatIsNoDirectory) {
  EXPECT_EQ(open_directory("/nowhere/at/all").error(), ENOENT);
  EXPECT_EQ(open_directory("/etc/passwd").error(), ENOTDIR);
  EXPECT_STREQ(open_directory("/etc/passwd").failure().call, "chdir");
  os_test::expect_each_refusal("open", {EMFILE, EACCES, ENOMEM}, [] { return open_directory("/"); });
}

// --- in numbers -----------------------------------------------------------------------------------------------------

TEST(LaunchTest, TwoThousandLaunchesLeaveNoDescriptorAndNoChild) {
  support::time_limit(120s);
  const auto before = os_test::descriptors();
  const int tenth = support::time_factor() > 1 ? 20 : 200;  // a sanitizer's fork takes ten times as long

  for (int round = 0; round < 4 * tenth; ++round) ASSERT_TRUE(run_in_fork({}, [] { return 0; }).success());
  for (int round = 0; round < 4 * tenth; ++round) {
    ASSERT_TRUE(run_in_fork({.cpu_seconds = 1000}, [] { return 0; }).success());
  }
  Spawn spawn{{support::program("os_list_fds")}};
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
  const int out = ::fcntl(1, F_DUPFD_CLOEXEC, 3);
  ::dup2(null, 1);
  int failed = 0;
  for (int round = 0; round < 2 * tenth; ++round) {
    auto child = spawn();
    failed += child && end_of(child.value()).success() ? 0 : 1;
  }
  ::dup2(out, 1);
  ::close(out);
  ::close(null);

  EXPECT_EQ(failed, 0);
  EXPECT_EQ(os_test::descriptors(), before);
  EXPECT_TRUE(os_test::has_no_child());
}

TEST(LaunchTest, FromManyThreadsAtOnceEachGetsItsOwnChild) {
  std::vector<std::thread> threads;
  std::atomic<int> right{0};
  for (int number = 1; number <= 8; ++number) {
    threads.emplace_back([&, number] {
      for (int round = 0; round < 20; ++round) {
        auto child = round % 4 == 0 ? Spawn{{"/bin/sh", "-c", "exit " + std::to_string(number)}}()
                                    : fork_to({.cpu_seconds = 1000}, [number] { return number; });
        if (child && end_of(child.value()) == ExitStatus::exited_with(number)) ++right;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(right, 160);
}

}  // namespace
