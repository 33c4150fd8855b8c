// SPDX-License-Identifier: MIT
//
// What ProcessOptions asks for is in force in the child, and nowhere else.

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <new>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/process/this_process.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"
#include "support/sanitized.hpp"

namespace {

using multiproc::Process;
using multiproc::ProcessOptions;
using support::in_child;
using support::Wire;
namespace targets = support::targets;
namespace fs = std::filesystem;

class OptionsTest : public support::EveryStartMethod {
 protected:
  // What the target told about itself when it was started so.
  template <class... Args>
  static std::string told_by(ProcessOptions others, void (*target)(const std::string& wire, Args... args),
                             Args... args) {
    const Wire wire;
    Process child{options(std::move(others)), target, wire.path(), args...};
    child.start();
    child.join();
    EXPECT_EQ(child.exitcode(), 0);
    return wire.hear();
  }
};
MULTIPROC_EVERY_START_METHOD(OptionsTest);

void tell_variable(const std::string& wire, std::string name) {
  const char* value = std::getenv(name.c_str());
  Wire::tell(wire, value != nullptr ? "=" + std::string(value) : "unset");
}

class Scratch {
 public:
  Scratch() {
    char name[] = "/tmp/multiproc-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~Scratch() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

void tell_cwd(const std::string& wire) {
  Wire::tell(wire, fs::current_path().string());
}

TEST_P(OptionsTest, TheChildStartsInItsCwd) {
  const Scratch folder;
  const fs::path here = fs::current_path();

  EXPECT_EQ(told_by({.cwd = folder.path()}, tell_cwd), folder.path().string());
  EXPECT_EQ(told_by({.cwd = "/"}, tell_cwd), "/");
  EXPECT_EQ(told_by({}, tell_cwd), here.string());

  EXPECT_EQ(fs::current_path(), here) << "the parent moved";
}

TEST_P(OptionsTest, ARelativeCwdCountsFromTheParentsOwnAtTheStart) {
  const Scratch folder;
  fs::create_directory(folder.path() / "below");
  const auto result = in_child([&] {
    const Wire wire;
    Process child{options({.cwd = "below"}), tell_cwd, wire.path()};
    fs::current_path(folder.path());
    child.start();
    child.join();
    EXPECT_EQ(wire.hear(), (folder.path() / "below").string());
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(OptionsTest, ACwdThatIsMissingIsRefusedByStart) {
  const Scratch folder;
  const fs::path missing = folder.path() / "nobody made this";
  Process child{options({.name = "lost", .cwd = missing}), targets::exit_with, 3};
  try {
    child.start();
    FAIL() << "started in a directory that does not exist";
  } catch (const multiproc::SystemError& error) {
    EXPECT_EQ(error.code().value(), ENOENT);
    const std::string text = error.what();
    for (const std::string_view part :
         {std::string_view("chdir"), std::string_view("lost"), std::string_view(missing.native()),
          std::string_view("No such file or directory"), std::string_view("ProcessOptions::cwd")}) {
      EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
    }
  }
  EXPECT_EQ(child.pid(), 0);

  fs::create_directory(missing);
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 3);
}

TEST_P(OptionsTest, ACwdThatIsAFileIsRefusedByStart) {
  Process child{options({.cwd = "/proc/self/exe"}), targets::nothing};
  try {
    child.start();
    FAIL();
  } catch (const multiproc::SystemError& error) {
    EXPECT_EQ(error.code().value(), ENOTDIR) << error.what();
  }
}

TEST_P(OptionsTest, ACwdThatMayNotBeEnteredIsRefusedByStart) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody who may not";
  const Scratch folder;
  fs::permissions(folder.path(), fs::perms::owner_all);
  const auto result = in_child([&] {
    ASSERT_EQ(::seteuid(65534), 0);
    Process child{options({.cwd = folder.path()}), targets::nothing};
    try {
      child.start();
      FAIL() << "started where it may not be";
    } catch (const multiproc::SystemError& error) {
      EXPECT_EQ(error.code().value(), EACCES);
      const std::string text = error.what();
      for (const std::string& part :
           {std::string("chdir"), folder.path().string(), std::string("ProcessOptions::cwd")}) {
        EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
      }
    }
    EXPECT_EQ(child.pid(), 0);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(OptionsTest, VariablesAreAddedToTheInheritedOnes) {
  ::setenv("MULTIPROC_TEST_INHERITED", "from the parent", 1);
  const ProcessOptions more{.env = {{"MULTIPROC_TEST_ADDED", "by options"}}};

  EXPECT_EQ(told_by(more, tell_variable, std::string("MULTIPROC_TEST_ADDED")), "=by options");
  EXPECT_EQ(told_by(more, tell_variable, std::string("MULTIPROC_TEST_INHERITED")), "=from the parent");
  EXPECT_EQ(told_by(more, tell_variable, std::string("MULTIPROC_TEST_ABSENT")), "unset");

  EXPECT_EQ(std::getenv("MULTIPROC_TEST_ADDED"), nullptr) << "the parent has it too";
  ::unsetenv("MULTIPROC_TEST_INHERITED");
}

TEST_P(OptionsTest, AVariableOfTheOptionsReplacesTheInheritedOne) {
  ::setenv("MULTIPROC_TEST_BOTH", "old", 1);

  EXPECT_EQ(told_by({.env = {{"MULTIPROC_TEST_BOTH", "new"}}}, tell_variable, std::string("MULTIPROC_TEST_BOTH")),
            "=new");
  EXPECT_EQ(told_by({.env = {{"MULTIPROC_TEST_BOTH", "one"}, {"MULTIPROC_TEST_BOTH", "two"}}}, tell_variable,
                    std::string("MULTIPROC_TEST_BOTH")),
            "=two");
  EXPECT_EQ(told_by({.env = {{"MULTIPROC_TEST_BOTH", ""}}}, tell_variable, std::string("MULTIPROC_TEST_BOTH")), "=");

  EXPECT_STREQ(std::getenv("MULTIPROC_TEST_BOTH"), "old");
  ::unsetenv("MULTIPROC_TEST_BOTH");
}

TEST_P(OptionsTest, AVariableWhoseNameBeginsAnotherReplacesThatOneAlone) {
  ::setenv("MULTIPROC_TEST_LONG", "long", 1);

  EXPECT_EQ(told_by({.env = {{"MULTIPROC_TEST", "short"}}}, tell_variable, std::string("MULTIPROC_TEST_LONG")),
            "=long");

  ::unsetenv("MULTIPROC_TEST_LONG");
}

TEST_P(OptionsTest, ManyAndLongVariablesArrive) {
  ProcessOptions more;
  for (int i = 0; i < 500; ++i) {
    more.env.emplace_back("MULTIPROC_TEST_" + std::to_string(i), std::string(1000, 'a') + std::to_string(i));
  }
  EXPECT_EQ(told_by(more, tell_variable, std::string("MULTIPROC_TEST_499")), "=" + std::string(1000, 'a') + "499");
}

TEST_P(OptionsTest, AChildWithVariablesOfItsOwnMayChangeThem) {
  EXPECT_EQ(told_by(
                {.env = {{"MULTIPROC_TEST_A", "1"}, {"MULTIPROC_TEST_B", "2"}}},
                +[](const std::string& wire) {
                  ::setenv("MULTIPROC_TEST_A", "a longer value than before", 1);
                  ::setenv("MULTIPROC_TEST_C", "3", 1);
                  ::unsetenv("MULTIPROC_TEST_B");
                  Wire::tell(wire, std::string(std::getenv("MULTIPROC_TEST_A")) + std::getenv("MULTIPROC_TEST_C") +
                                       (std::getenv("MULTIPROC_TEST_B") != nullptr ? "still" : "gone"));
                }),
            "a longer value than before3gone");
}

TEST_P(OptionsTest, GrandchildrenInheritTheVariables) {
  EXPECT_EQ(told_by(
                {.env = {{"MULTIPROC_TEST_DOWN", "all the way"}}},
                +[](const std::string& wire, multiproc::StartMethod method) {
                  Process grandchild{{.start_method = method}, tell_variable, wire, "MULTIPROC_TEST_DOWN"};
                  grandchild.start();
                  grandchild.join();
                },
                GetParam()),
            "=all the way");
}

TEST_P(OptionsTest, AVariableThatCanNotBeIsRefused) {
  using Pair = std::pair<std::string, std::string>;
  for (const Pair& bad :
       {Pair{"", "x"}, Pair{"a=b", "x"}, Pair{std::string("a\0b", 3), "x"}, Pair{"name", std::string("a\0b", 3)}}) {
    Process child{options({.name = "odd", .env = {bad}}), targets::nothing};
    try {
      child.start();
      ADD_FAILURE() << "took '" << bad.first << "'='" << bad.second << "'";
    } catch (const multiproc::Error& error) {
      EXPECT_NE(std::string(error.what()).find("ProcessOptions::env"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("odd"), std::string::npos) << error.what();
    }
    EXPECT_EQ(child.pid(), 0);
  }
}

// More than exec takes in one string (128 KiB): a forked child does not execute anything.
TEST_P(OptionsTest, AVariableThatIsTooLongForTheKernelIsRefusedWithARemedy) {
  Process child{options({.name = "wordy", .env = {{"MULTIPROC_TEST_LONG", std::string(256 << 10, 'x')}}}),
                [] { std::exit(std::getenv("MULTIPROC_TEST_LONG")[(256 << 10) - 1] == 'x' ? 46 : 1); }};
  if (GetParam() == multiproc::StartMethod::fork) {
    child.start();
    child.join();
    EXPECT_EQ(child.exitcode(), 46);
    return;
  }
  try {
    child.start();
    FAIL() << "executed with a variable of 256 KiB";
  } catch (const multiproc::SystemError& error) {
    EXPECT_EQ(error.code().value(), E2BIG);
    const std::string text = error.what();
    for (const char* part : {"posix_spawn", "wordy", "Argument list too long", "ProcessOptions::env"}) {
      EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
    }
  }
  EXPECT_EQ(child.pid(), 0);
}

TEST_P(OptionsTest, TheChildSeesNothingOfHowItWasStarted) {
  EXPECT_EQ(told_by({}, tell_variable, std::string("MULTIPROC_SPAWN")), "unset");
}

int first_allowed_cpu() {
  cpu_set_t mine;
  CPU_ZERO(&mine);
  ::sched_getaffinity(0, sizeof mine, &mine);
  int cpu = 0;
  while (!CPU_ISSET(static_cast<std::size_t>(cpu), &mine)) ++cpu;
  return cpu;
}

void tell_cpus(const std::string& wire) {
  cpu_set_t mine;
  CPU_ZERO(&mine);
  ::sched_getaffinity(0, sizeof mine, &mine);
  std::string list;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mine)) list += std::to_string(cpu) + " ";
  }
  Wire::tell(wire, list + "of " + std::to_string(multiproc::cpu_count()));
}

TEST_P(OptionsTest, TheChildRunsOnItsCpusAlone) {
  const int cpu = first_allowed_cpu();
  cpu_set_t before;
  ::sched_getaffinity(0, sizeof before, &before);

  EXPECT_EQ(told_by({.cpus = {cpu}}, tell_cpus), std::to_string(cpu) + " of 1");
  EXPECT_EQ(told_by({.cpus = {cpu, cpu}}, tell_cpus), std::to_string(cpu) + " of 1");

  cpu_set_t after;
  ::sched_getaffinity(0, sizeof after, &after);
  EXPECT_TRUE(CPU_EQUAL(&before, &after)) << "the parent was pinned too";
}

TEST_P(OptionsTest, ACpuThatCanNotBeIsRefusedByStart) {
  for (const int cpu : {-1, 8000, 1'000'000}) {
    SCOPED_TRACE(cpu);
    Process child{options({.name = "pinned", .cpus = {cpu}}), targets::nothing};
    try {
      child.start();
      FAIL() << "runs on a CPU that does not exist";
    } catch (const multiproc::SystemError& error) {
      EXPECT_EQ(error.code().value(), EINVAL);
      const std::string text = error.what();
      for (const char* part : {"sched_setaffinity", "pinned", "Invalid argument", "ProcessOptions::cpus"}) {
        EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
      }
    }
    EXPECT_EQ(child.pid(), 0);
  }
}

void tell_limit(const std::string& wire, int resource) {
  rlimit value{};
  ::getrlimit(static_cast<__rlimit_resource>(resource), &value);
  Wire::tell(wire, std::to_string(value.rlim_cur) + " " + std::to_string(value.rlim_max));
}

TEST_P(OptionsTest, EachLimitIsInForceInTheChildAlone) {
  rlimit before[3]{};
  ::getrlimit(RLIMIT_AS, &before[0]);
  ::getrlimit(RLIMIT_CPU, &before[1]);
  ::getrlimit(RLIMIT_NOFILE, &before[2]);

  if (!support::kSanitized) {
    EXPECT_EQ(told_by({.limits = {.memory_bytes = 1U << 30}}, tell_limit, int{RLIMIT_AS}), "1073741824 1073741824");
  }
  EXPECT_EQ(told_by({.limits = {.cpu_seconds = 100}}, tell_limit, int{RLIMIT_CPU}), "100 101");
  EXPECT_EQ(told_by({.limits = {.open_files = 77}}, tell_limit, int{RLIMIT_NOFILE}), "77 77");

  rlimit after{};
  ::getrlimit(RLIMIT_AS, &after);
  EXPECT_EQ(after.rlim_cur, before[0].rlim_cur);
  ::getrlimit(RLIMIT_CPU, &after);
  EXPECT_EQ(after.rlim_cur, before[1].rlim_cur);
  ::getrlimit(RLIMIT_NOFILE, &after);
  EXPECT_EQ(after.rlim_cur, before[2].rlim_cur);
}

TEST_P(OptionsTest, BeyondItsMemoryAnAllocationFails) {
  if (support::kSanitized) GTEST_SKIP() << "a sanitizer's own mappings are larger than any limit";
  Process child{options({.limits = {.memory_bytes = 512U << 20}}), [] {
                  try {
                    std::vector<char> much(std::size_t{1} << 30);
                    std::exit(static_cast<int>(much[7]));
                  } catch (const std::bad_alloc&) {
                    std::exit(44);
                  }
                }};
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 44);
}

TEST_P(OptionsTest, BeyondItsCpuTimeTheChildIsEnded) {
  Process child{options({.limits = {.cpu_seconds = 1}}), [] {
                  for (std::atomic<unsigned> steps{0};;) ++steps;
                }};
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), -SIGXCPU);
  EXPECT_GE(child.exit_status()->cpu_time(), std::chrono::milliseconds(500));  // the kernel counts in ticks
}

TEST_P(OptionsTest, ASpinnerThatIgnoresTheWarningIsKilledASecondLater) {
  Process child{options({.limits = {.cpu_seconds = 1}}), [] {
                  ::signal(SIGXCPU, SIG_IGN);
                  for (std::atomic<unsigned> steps{0};;) ++steps;
                }};
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), -SIGKILL);
}

TEST_P(OptionsTest, BeyondItsOpenFilesTheChildGetsNone) {
  Process child{options({.limits = {.open_files = 40}}), [] {
                  int highest = 0;
                  for (int fd = 0; (fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;) highest = fd;
                  const int error = errno;
                  ::close(highest);  // UBSan looks at the memory of an object through a pipe
                  ::close(highest - 1);
                  std::exit(error == EMFILE && highest < 40 ? 45 : 1);
                }};
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 45);
}

TEST_P(OptionsTest, NoRoomForDescriptorsOfItsOwnIsNoHindranceToBeStarted) {
  if (support::kSanitized) GTEST_SKIP() << "UBSan looks at the memory of an object through a pipe";
  for (const std::uint64_t files : {0U, 1U, 3U}) {
    for (const bool daemon : {false, true}) {
      SCOPED_TRACE(std::to_string(files) + (daemon ? ", daemon" : ""));
      Process child{options({.daemon = daemon, .limits = {.open_files = files}}), targets::exit_with, 7};
      child.start();
      child.join();
      EXPECT_EQ(child.exitcode(), 7);
    }
  }
}

TEST_P(OptionsTest, ALimitAboveTheHardOneIsRefusedToOrdinaryUsers) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to lower a limit and then to cease to be root";
  const auto result = in_child([] {
    const rlimit low{100, 100};
    ::setrlimit(RLIMIT_NOFILE, &low);
    // Capabilities go with the effective id; the real one stays, or /proc/self would no longer be ours to read.
    ASSERT_EQ(::seteuid(65534), 0);
    Process child{options({.name = "greedy", .limits = {.open_files = 200}}), targets::nothing};
    try {
      child.start();
      FAIL() << "an ordinary user went above the hard limit";
    } catch (const multiproc::SystemError& error) {
      EXPECT_EQ(error.code().value(), EPERM);
      const std::string text = error.what();
      for (const char* part : {"setrlimit(RLIMIT_NOFILE)", "greedy", "Operation not permitted", "ulimit -H"}) {
        EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
      }
    }
    EXPECT_EQ(child.pid(), 0);
    if (support::kSanitized && GetParam() == multiproc::StartMethod::spawn)
      return;  // LeakSanitizer needs more rights than that child has
    Process modest{options({.limits = {.open_files = 90}}), targets::exit_with, 5};
    modest.start();
    modest.join();
    EXPECT_EQ(modest.exitcode(), 5);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(OptionsTest, TheNameIsTheChildsOwnToo) {
  EXPECT_EQ(told_by(
                {.name = "odd name: \"\t%s{}"},
                +[](const std::string& wire) { Wire::tell(wire, multiproc::current_process().name()); }),
            "odd name: \"\t%s{}");
}

TEST_P(OptionsTest, ANameMayBeLongAndHoldAnyByte) {
  std::string name(3000, 'n');
  name += '\0';
  name += "tail";
  EXPECT_EQ(told_by(
                {.name = name},
                +[](const std::string& wire) {
                  const std::string mine = multiproc::current_process().name();
                  Wire::tell(wire, std::to_string(mine.size()) + mine.substr(mine.size() - 4));
                }),
            "3005tail");
}

TEST_P(OptionsTest, AGenerousStartTimeoutIsNoHindrance) {
  Process child{options({.start_timeout = std::chrono::minutes(1)}), targets::exit_with, 6};
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 6);
}

TEST(OptionsBySpawnTest, NoTimeToStartIsATimeout) {
  for (const auto timeout : {std::chrono::nanoseconds(0), std::chrono::nanoseconds(-5)}) {
    Process child{{.name = "late", .start_method = multiproc::StartMethod::spawn, .start_timeout = timeout},
                  targets::nothing};
    try {
      child.start();
      ADD_FAILURE() << "an image was executed in no time";
    } catch (const multiproc::TimeoutError& error) {
      EXPECT_NE(std::string(error.what()).find("late"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("start_timeout"), std::string::npos) << error.what();
    }
    EXPECT_EQ(child.pid(), 0);
    EXPECT_FALSE(child.is_alive());
  }
}

// A child of which this is asked never gets as far as main(), nor reads what it is sent.
const bool hangs = [] {
  if (std::getenv("MULTIPROC_TEST_HANG") != nullptr) targets::sleep_for_ever();
  return true;
}();

TEST(OptionsBySpawnTest, TheStartTimeoutBoundsTheSendingOfALargeArgumentToo) {
  ASSERT_TRUE(hangs);
  Process child{{.start_method = multiproc::StartMethod::spawn,
                 .env = {{"MULTIPROC_TEST_HANG", "1"}},
                 .start_timeout = std::chrono::milliseconds(100)},
                [](const std::string&) {},
                std::string(16U << 20, 'x')};
  const auto began = std::chrono::steady_clock::now();

  EXPECT_THROW(child.start(), multiproc::TimeoutError);

  EXPECT_GE(std::chrono::steady_clock::now() - began, std::chrono::milliseconds(100));
  EXPECT_EQ(child.pid(), 0);
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "the child that was given up is left";
}

TEST_P(OptionsTest, AllOptionsWorkTogether) {
  const Scratch folder;
  const int cpu = first_allowed_cpu();
  const Wire wire;
  Process child{options({.name = "everything",
                         .daemon = true,
                         .cpus = {cpu},
                         .limits = {.cpu_seconds = 50, .open_files = 64},
                         .env = {{"MULTIPROC_TEST_ALL", "yes"}},
                         .cwd = folder.path()}),
                [](const std::string& path) {
                  tell_cwd(path);
                  tell_cpus(path);
                  tell_limit(path, RLIMIT_CPU);
                  tell_limit(path, RLIMIT_NOFILE);
                  tell_variable(path, "MULTIPROC_TEST_ALL");
                  Wire::tell(path, multiproc::current_process().name());
                },
                wire.path()};
  EXPECT_TRUE(child.daemon());
  child.start();
  child.join();

  EXPECT_EQ(wire.hear(), folder.path().string());
  EXPECT_EQ(wire.hear(), std::to_string(cpu) + " of 1");
  EXPECT_EQ(wire.hear(), "50 51");
  EXPECT_EQ(wire.hear(), "64 64");
  EXPECT_EQ(wire.hear(), "=yes");
  EXPECT_EQ(wire.hear(), "everything");
}

}  // namespace
