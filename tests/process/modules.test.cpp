// SPDX-License-Identifier: MIT
//
// Targets wherever a function may live: in a shared library that the program is linked with or has loaded, in a program
// without PIE, in one without a build id. What is not the same in the child is refused by start(), never run.

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <dlfcn.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>

#include "libraries/targets.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"

namespace {

using multiproc::Process;
using multiproc::StartMethod;
using support::in_child;
namespace fs = std::filesystem;

class ModulesTest : public support::EveryStartMethod {
 protected:
  template <class Target>
  static int exit_code_of(Target target, int argument, multiproc::ProcessOptions others = {}) {
    Process child{options(std::move(others)), target, argument};
    child.start();
    child.join();
    return child.exitcode().value();
  }
};
MULTIPROC_EVERY_START_METHOD(ModulesTest);

TEST_P(ModulesTest, AFunctionOfALinkedLibraryIsATarget) {
  EXPECT_EQ(exit_code_of(test_library::exit_with, 11), 11);
  EXPECT_EQ(exit_code_of(test_library_exit_with, 12), 12);
}

TEST_P(ModulesTest, AFunctionThatOnlyItsLibraryCanNameIsATarget) {
  EXPECT_EQ(exit_code_of(test_library::hidden_function(), 11), 12);
  EXPECT_EQ(exit_code_of(test_library::lambda(), 11), 13);
}

TEST_P(ModulesTest, AFunctionOfTheCLibraryIsATarget) {
  EXPECT_EQ(exit_code_of(&std::exit, 14), 14);
  EXPECT_EQ(exit_code_of(&::_exit, 15), 15);
}

TEST_P(ModulesTest, AFunctionMayBeAnArgumentTooWhereItsProgramIsCopied) {
  if (GetParam() != StartMethod::fork) GTEST_SKIP() << "an address means nothing elsewhere, and does not compile";
  Process child{options(), [](test_library::Target target) { target(16); }, test_library::lambda()};
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 18);
}

// A library that the program loads by hand, in a folder of its own.
class LoadedLibraryTest : public ModulesTest {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/multiproc-test-XXXXXX";
    folder_ = ::mkdtemp(folder);
    path_ = folder_ / "library.so";
    fs::copy_file(MULTIPROC_TEST_LOADED_LIBRARY, path_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static void* load(const fs::path& path) {
    void* const library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    EXPECT_NE(library, nullptr) << ::dlerror();
    return library;
  }
  static test_library::Target exit_with_of(void* library) {
    return reinterpret_cast<test_library::Target>(::dlsym(library, "test_library_exit_with"));
  }
  static test_library::Target lambda_of(void* library) {
    return reinterpret_cast<test_library::Target (*)()>(::dlsym(library, "test_library_lambda"))();
  }

  // In a child of the test, for a library stays loaded, whatever dlclose() is told, as long as anybody feels like it.
  template <class Body>
  static void in_a_process_of_its_own(Body body) {
    const auto result = in_child(body);
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }

  static std::string refusal_of(test_library::Target target) {
    Process child{options({.name = "caller"}), target, 0};
    try {
      child.start();
      child.join();
      return "not refused";
    } catch (const multiproc::LaunchError& error) {
      return std::string("LaunchError: ") + error.what();
    } catch (const multiproc::NotSendable& error) {
      return std::string("NotSendable: ") + error.what();
    }
  }

  fs::path folder_;
  fs::path path_;
};
INSTANTIATE_TEST_SUITE_P(EveryStartMethod, LoadedLibraryTest,
                         testing::ValuesIn(multiproc::get_all_start_methods().begin(),
                                           multiproc::get_all_start_methods().end()),
                         support::start_method_name);

TEST_P(LoadedLibraryTest, AFunctionOfItIsATarget) {
  in_a_process_of_its_own([&] {
    void* const library = load(path_);
    EXPECT_EQ(exit_code_of(exit_with_of(library), 21), 21);
    EXPECT_EQ(exit_code_of(lambda_of(library), 21), 23);
  });
}

TEST_P(LoadedLibraryTest, ByARelativePathItIsFoundFromAnywhere) {
  in_a_process_of_its_own([&] {
    fs::current_path(folder_);
    const auto target = exit_with_of(load("./library.so"));
    EXPECT_EQ(exit_code_of(target, 22), 22);
    EXPECT_EQ(exit_code_of(target, 23, {.cwd = "/"}), 23) << "the child lives elsewhere";
    fs::current_path("/");
    EXPECT_EQ(exit_code_of(target, 24), 24) << "and so does the parent by now";
  });
}

TEST_P(LoadedLibraryTest, ByTheSearchPathItIsFoundAgain) {
  const auto result =
      support::run_program("/proc/self/exe",
                           {"--gtest_also_run_disabled_tests",
                            "--gtest_filter=*DISABLED_BySearchPath.RunsATarget/" + std::string(to_string(GetParam()))},
                           {.env = {{"LD_LIBRARY_PATH", folder_.string()}}});
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_NE(result.out.find("[  PASSED  ] 1 test"), std::string::npos) << result.out;
}

class DISABLED_BySearchPath : public LoadedLibraryTest {};
INSTANTIATE_TEST_SUITE_P(EveryStartMethod, DISABLED_BySearchPath,
                         testing::ValuesIn(multiproc::get_all_start_methods().begin(),
                                           multiproc::get_all_start_methods().end()),
                         support::start_method_name);

TEST_P(DISABLED_BySearchPath, RunsATarget) {
  EXPECT_EQ(exit_code_of(exit_with_of(load("library.so")), 25), 25);
}

TEST_P(LoadedLibraryTest, UnloadedItsFunctionsCantTravel) {
  if (GetParam() == StartMethod::fork) GTEST_SKIP() << "fork copies the hole";
  in_a_process_of_its_own([&] {
    void* const library = load(path_);
    const auto target = exit_with_of(library);
    ::dlclose(library);
    ASSERT_EQ(::dlopen(path_.c_str(), RTLD_NOW | RTLD_NOLOAD), nullptr) << "it is still loaded";

    const std::string refusal = refusal_of(target);
    EXPECT_EQ(refusal.find("NotSendable: process 'caller'"), 0U) << refusal;
  });
}

TEST_P(LoadedLibraryTest, DeletedSinceItIsRefused) {
  if (GetParam() == StartMethod::fork) GTEST_SKIP() << "fork needs no file";
  in_a_process_of_its_own([&] {
    const auto target = exit_with_of(load(path_));
    fs::remove(path_);

    const std::string refusal = refusal_of(target);
    EXPECT_EQ(refusal.find("LaunchError: process 'caller'"), 0U) << refusal;
    EXPECT_NE(refusal.find(path_.string()), std::string::npos) << refusal;
  });
}

TEST_P(LoadedLibraryTest, ReplacedSinceByAnotherBuildItIsRefused) {
  if (GetParam() == StartMethod::fork) GTEST_SKIP() << "fork needs no file";
  in_a_process_of_its_own([&] {
    const auto target = exit_with_of(load(path_));
    fs::remove(path_);
    fs::copy_file(MULTIPROC_TEST_OTHER_LIBRARY, path_);

    const std::string refusal = refusal_of(target);
    EXPECT_EQ(refusal.find("LaunchError: process 'caller'"), 0U) << refusal;
    EXPECT_NE(refusal.find("build ids differ"), std::string::npos) << refusal;
  });
}

// ---- Programs that are linked in other ways

void expect_all_targets_run(const std::string& program, const std::string& kind) {
  const auto result = support::run_program(support::program(program));
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "1 2 3 4 5 6 7 " + kind + "\n");
}

TEST(OtherLinkageTest, AsUsual) {
  expect_all_targets_run("spawn_targets", "anywhere, build id");
}
TEST(OtherLinkageTest, WithoutPie) {
  expect_all_targets_run("spawn_targets_no_pie", "fixed, build id");
}
TEST(OtherLinkageTest, WithoutABuildIdTheCodeItselfIsTheIdentity) {
  expect_all_targets_run("spawn_targets_no_build_id", "anywhere, no build id");
}

}  // namespace
