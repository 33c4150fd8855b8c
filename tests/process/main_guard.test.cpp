// SPDX-License-Identifier: MIT

#include <multiproc/process/main_guard.hpp>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "process/wire.hpp"
#include "support/in_child.hpp"
#include "support/loader.hpp"
#include "support/sanitized.hpp"

namespace {

using support::ChildResult;
using support::program;
using support::run_program;
namespace fs = std::filesystem;

constexpr char kLineToAdd[] = "multiproc::main_guard(argc, argv);";

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + part.size())) ++count;
  return count;
}

int processes(const ChildResult& result) {
  return count_of(result.err, "process\n");
}

ChildResult run_case(const std::string& which) {
  return run_program(program("guard_cases"), {which});
}

TEST(MainGuardTest, ChildrenRunTheirTargetAndNothingBehindTheGuard) {
  const auto result = run_case("plain");

  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(count_of(result.out, "target\n"), 2) << result.out;
  EXPECT_EQ(count_of(result.out, "after the guard\n"), 1) << result.out;
  EXPECT_EQ(count_of(result.out, "main: exit code 0\n"), 2) << result.out;
}

TEST(MainGuardTest, WhatStandsBeforeItRunsOnceInEachProcessStaticObjectsIncluded) {
  const auto result = run_case("plain");

  EXPECT_EQ(processes(result), 3);
  EXPECT_EQ(count_of(result.out, "before the guard"), 3) << result.out;
  EXPECT_EQ(count_of(result.out, "destroyed\n"), 3) << result.out;
}

TEST(MainGuardTest, ChildrenSeeTheArgumentsOfTheirParent) {
  const std::vector<std::string> arguments{"plain", "", "two words", "--option=\"x\"", "\xff\n"};
  const auto result = run_program(program("guard_cases"), arguments);

  EXPECT_EQ(count_of(result.out, "before the guard: [plain][][two words][--option=\"x\"][\xff\n]"), 3) << result.out;
}

TEST(MainGuardTest, ASecondCallDoesNothing) {
  const auto result = run_case("twice");

  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(count_of(result.out, "target\n"), 2) << result.out;
  EXPECT_EQ(processes(result), 3);
}

TEST(MainGuardTest, ForgottenItIsAskedForByAnErrorThatShowsTheLine) {
  const auto result = run_case("forgotten");

  EXPECT_EQ(count_of(result.out, "main: MainGuardMissing: process 'child'"), 1) << result.out;
  EXPECT_EQ(count_of(result.out, kLineToAdd), 1) << result.out;
  EXPECT_EQ(processes(result), 1) << "a process was made in vain";
  EXPECT_EQ(count_of(result.out, "main: exit code 0\n"), 1) << "fork needs no guard:\n" << result.out;
}

TEST(MainGuardTest, AGuardThatTheChildDoesNotReachIsFoundOutWithoutAForkBomb) {
  const auto result = run_case("conditional");

  EXPECT_EQ(processes(result), 2);
  EXPECT_EQ(count_of(result.out, "\nmain: MainGuardMissing: process 'child'"), 1) << result.out;
  EXPECT_EQ(count_of(result.out, "main of the child: MainGuardMissing"), 2) << "by spawn and by fork:\n" << result.out;
  EXPECT_EQ(count_of(result.out, kLineToAdd), 3) << result.out;
  EXPECT_EQ(count_of(result.out, "target\n"), 1) << result.out;  // the real main's, by fork
}

TEST(MainGuardTest, StartsBeforeTheGuardAreRefusedInTheChildren) {
  const auto result = run_case("starts_before");

  EXPECT_EQ(processes(result), 2);
  EXPECT_EQ(count_of(result.out, "before the guard: MainGuardMissing"), 1) << result.out;  // spawn in the real main
  EXPECT_EQ(count_of(result.out, "before the guard: exit code 0"), 1) << result.out;       // fork there
  EXPECT_EQ(count_of(result.out, "before the guard in the child: MainGuardMissing"), 2) << result.out;
  EXPECT_EQ(count_of(result.out, "after the guard: exit code 0"), 1) << result.out;
  EXPECT_EQ(count_of(result.out, "target\n"), 2) << result.out;
}

TEST(MainGuardTest, AnUncaughtRefusalInTheChildFailsTheStart) {
  const auto result = run_case("starts_before_uncaught");

  EXPECT_EQ(processes(result), 2);
  EXPECT_EQ(count_of(result.out, "main: LaunchError: process 'child'"), 1) << result.out;
  EXPECT_EQ(count_of(result.out, "SIGABRT"), 1) << result.out;
}

TEST(MainGuardTest, StartsFromStaticConstructorsAreRefusedInTheChildren) {
  const auto by_fork = run_case("static_fork");
  EXPECT_EQ(processes(by_fork), 2);
  EXPECT_EQ(count_of(by_fork.out, "static constructor: exit code 0"), 1) << by_fork.out;
  EXPECT_EQ(count_of(by_fork.out, "static constructor: MainGuardMissing"), 1) << by_fork.out;
  EXPECT_EQ(count_of(by_fork.out, "main: exit code 0"), 1) << by_fork.out;

  const auto by_spawn = run_case("static_spawn");
  EXPECT_EQ(processes(by_spawn), 2);
  EXPECT_EQ(count_of(by_spawn.out, "static constructor: MainGuardMissing"), 2) << by_spawn.out;
  EXPECT_EQ(count_of(by_spawn.out, "main: exit code 0"), 1) << by_spawn.out;
}

TEST(MainGuardTest, AMainThatEndsBeforeItInTheChildFailsTheStart) {
  const auto zero = run_case("returns_0");
  EXPECT_EQ(count_of(zero.out, "main: MainGuardMissing: process 'child'"), 1) << zero.out;
  EXPECT_EQ(count_of(zero.out, kLineToAdd), 1) << zero.out;

  for (const char* which : {"returns_7", "exits_7"}) {
    const auto seven = run_case(which);
    EXPECT_EQ(count_of(seven.out, "main: MainGuardMissing: process 'child'"), 1) << seven.out;
    EXPECT_EQ(count_of(seven.out, "exited with code 7"), 1) << seven.out;
  }
}

TEST(MainGuardTest, AMainThatCrashesBeforeItInTheChildFailsTheStart) {
  const auto result = run_case("aborts");
  EXPECT_EQ(count_of(result.out, "main: LaunchError: process 'child'"), 1) << result.out;
  EXPECT_EQ(count_of(result.out, "SIGABRT"), 1) << result.out;
}

TEST(MainGuardTest, AMainThatHangsBeforeItIsEndedByTheStartTimeout) {
  const auto result = run_case("hangs");
  EXPECT_EQ(result.status, 0);
  EXPECT_FALSE(result.timed_out) << "the child is still there";
  EXPECT_EQ(count_of(result.out, "main: TimeoutError: process 'child'"), 1) << result.out;
  EXPECT_EQ(count_of(result.out, "start_timeout"), 1) << result.out;
}

TEST(MainGuardTest, WhatTheChildExecutesBeforeItSeesNeitherMarkerNorSocket) {
  const auto result = run_case("executes");
  EXPECT_EQ(count_of(result.out, "MULTIPROC_SPAWN"), 0) << result.out;
  const auto line = result.out.find('\n');
  const std::string descriptors = result.out.substr(0, line + 1);
  EXPECT_EQ(result.out, descriptors + descriptors + "target\ndestroyed\nmain: exit code 0\ndestroyed\n");
}

TEST(MainGuardTest, TheSameProgramExecutedByAChildIsAMainOfItsOwn) {
  const auto result = run_case("runs_itself");
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.out.find("a main of its own\n"), 0U) << result.out;
}

// Somebody else's variable of that name, or one that an earlier start left in a shell.
TEST(MainGuardTest, AMarkerThatIsNotOursIsNoMarker) {
  for (const char* marker :
       {"", "x", "3:1:-1:0:-1", "0:99999999:0:1:0", "-1:-1:-1:-1:-1", "1:2:3:4:5:6", "4294967299:1:1"}) {
    SCOPED_TRACE(marker);
    const auto result = run_program(program("guard_cases"), {"plain"}, {.env = {{"MULTIPROC_SPAWN", marker}}});
    EXPECT_EQ(result.status, 0);
    EXPECT_EQ(count_of(result.out, "target\n"), 2) << result.out;
  }
}

// A shell with the marker and the socket of a start, which executes the program as `how` says once the wire speaks.
// `survives`: whether the process that made them is still there then.
ChildResult run_below_a_start(const std::string& how, bool survives) {
  const support::Wire wire;
  const support::Wire gone;
  std::thread speaker([&] {
    const support::Witness maker(gone.hear_number());
    if (!survives) (void)maker.ends();
    wire.tell("now");
  });
  const auto result = support::in_child([&] {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) ::_exit(1);
    const std::string self = std::to_string(::getpid());
    ::setenv("MULTIPROC_SPAWN", (std::to_string(ends[1]) + ":" + self + ":-1:0:-1").c_str(), 1);
    const std::string script =
        "read word < " + wire.path() + "; " + how + " " + program("guard_cases") + " plain; true";
    const pid_t shell = ::fork();
    if (shell == 0) ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
    gone.tell(self);
    if (survives) ::waitpid(shell, nullptr, 0);
    ::_exit(0);
  });
  speaker.join();
  return result;
}

// Its parent was killed in the middle of the start. As a second main() it would begin the whole program anew.
TEST(MainGuardTest, AChildThatIsOrphanedBeforeItCouldLookEndsWithoutAWord) {
  const auto result = run_below_a_start("exec", false);
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "");
}

TEST(MainGuardTest, AProgramThatSeesTheMarkerOfALivingStrangerIsAMainOfItsOwn) {
  const auto result = run_below_a_start("", true);
  EXPECT_FALSE(result.timed_out);
  EXPECT_EQ(count_of(result.out, "main: exit code 0\n"), 2) << result.out;
}

// ---- The image, when its file is not what it was

class CopiedProgram {
 public:
  explicit CopiedProgram(const std::string& name) {
    char folder[] = "/tmp/multiproc-test-XXXXXX";
    folder_ = ::mkdtemp(folder);
    path_ = folder_ / name;
    fs::copy_file(program(name), path_);
  }
  ~CopiedProgram() { fs::remove_all(folder_); }
  std::string path() const { return path_.string(); }

 private:
  fs::path folder_;
  fs::path path_;
};

TEST(OwnImageTest, ADeletedProgramStillSpawns) {
  const CopiedProgram copy("own_image");
  const auto result = run_program(copy.path(), {"delete"});
  EXPECT_EQ(result.out, "exit code 31\n") << result.err;
  EXPECT_FALSE(fs::exists(copy.path()));
}

TEST(OwnImageTest, AReplacedProgramStillSpawnsItself) {
  const CopiedProgram copy("own_image");
  const auto result = run_program(copy.path(), {"replace"});
  EXPECT_EQ(result.out, "exit code 31\n") << result.err;
  EXPECT_EQ(run_program(copy.path()).out, "the usurper\n") << "the program was not replaced: this test tests nothing";
}

TEST(OwnImageTest, AProgramWhoseFolderIsGoneStillSpawns) {
  const CopiedProgram copy("own_image");
  const auto result = run_program(copy.path(), {"move"});
  EXPECT_EQ(result.out, "exit code 31\n") << result.err;
}

TEST(OwnImageTest, AProgramStartedByARelativePathSpawnsFromAnywhere) {
  const CopiedProgram copy("own_image");
  for (const char* how : {"chdir", "without_proc", "cwd"}) {
    const auto result = support::in_child([&]() -> int {
      fs::current_path(fs::path(copy.path()).parent_path());
      ::execl("own_image", "another name", how, nullptr);
      return 127;
    });
    EXPECT_EQ(result.out, "exit code 31\n") << how << ": " << result.err;
  }
}

// `ld.so program`: /proc/self/exe is the loader then, and the program an argument of it.
class LoaderTest : public testing::Test {
 protected:
  void SetUp() override {
    if (loader_.empty()) GTEST_SKIP() << "a static program has none";
    if (support::kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer may execute /proc/self/exe";
  }
  const std::string loader_ = support::loader();
};

TEST_F(LoaderTest, AProgramThatItRunsSpawnsThatProgramAndGivesItsArguments) {
  const auto result = run_program(loader_, {program("guard_cases"), "plain", "", "two words"});

  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(processes(result), 3);
  EXPECT_EQ(count_of(result.out, "before the guard: [plain][][two words]"), 3) << result.out;
  EXPECT_EQ(count_of(result.out, "target\n"), 2) << result.out;
  EXPECT_EQ(count_of(result.out, "main: exit code 0\n"), 2) << result.out;
}

TEST_F(LoaderTest, ItsOptionsAreKept) {
  const auto result =
      run_program(loader_, {"--inhibit-cache", "--library-path", "/nowhere", program("guard_cases"), "plain"});

  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(count_of(result.out, "target\n"), 2) << result.out;
}

TEST_F(LoaderTest, FunctionsAreFoundInAProgramThatItRuns) {
  const auto result = run_program(loader_, {program("spawn_targets")});

  EXPECT_TRUE(result.out.starts_with("1 2 3 4 5 6 7 ")) << result.out << result.err;
}

TEST_F(LoaderTest, AProgramStartedByARelativePathSpawnsFromAnywhere) {
  const auto run = [&](const char* how) {
    return support::in_child([&]() -> int {
      fs::current_path(fs::path(program("own_image")).parent_path());
      ::execl(loader_.c_str(), loader_.c_str(), "./own_image", how, nullptr);
      return 127;
    });
  };
  EXPECT_EQ(run("chdir").out, "exit code 31\n");

  const std::string refusal = run("without_proc").out;
  EXPECT_TRUE(refusal.starts_with("Unsupported: process '")) << refusal;
  EXPECT_EQ(count_of(refusal, "StartMethod::fork"), 1) << refusal;
}

}  // namespace
