// SPDX-License-Identifier: MIT
//
// What was chosen holds for the whole process, so each test chooses in a process of its own.

#include <multiproc/process/start_method.hpp>

#include <atomic>
#include <optional>
#include <string>
#include <thread>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"

namespace {

using multiproc::Process;
using multiproc::StartMethod;
using support::in_child;
using support::Wire;
namespace targets = support::targets;

// Another thread for as long as this lives.
class Company {
 public:
  Company() : thread_([this] { leave_.wait(false); }) {}
  ~Company() {
    leave_ = true;
    leave_.notify_all();
    thread_.join();
  }

 private:
  std::atomic<bool> leave_{false};
  std::thread thread_;
};

// What a process says of the method that it was started by: a forked one finds the variables of its parent.
std::atomic<pid_t> written_before_the_start{0};

void tell_method(const std::string& wire) {
  const bool forked = written_before_the_start == ::getppid();
  Wire::tell(
      wire, std::string(forked ? "fork" : "spawn") + ", then " + std::string(to_string(multiproc::get_start_method())));
}

std::string method_of(const std::optional<StartMethod> asked) {
  const Wire wire;
  written_before_the_start = ::getpid();
  Process child{{.start_method = asked}, tell_method, wire.path()};
  child.start();
  child.join();
  return wire.hear();
}

TEST(StartMethodTest, HasPythonsNames) {
  EXPECT_EQ(to_string(StartMethod::fork), "fork");
  EXPECT_EQ(to_string(StartMethod::spawn), "spawn");
  EXPECT_EQ(to_string(StartMethod::forkserver), "forkserver");
}

TEST(StartMethodTest, TheDefaultIsForkAndStandsFirst) {
  const auto all = multiproc::get_all_start_methods();
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all.front(), StartMethod::fork);
  EXPECT_EQ(all.size(), 2U);
  EXPECT_EQ(all.back(), StartMethod::spawn);

  const auto result = in_child([] {
    EXPECT_EQ(multiproc::get_start_method(), StartMethod::fork);
    EXPECT_EQ(method_of(std::nullopt), "fork, then fork");
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, TheOptionDecidesForOneProcess) {
  const auto result = in_child([] {
    EXPECT_EQ(method_of(StartMethod::spawn), "spawn, then fork");
    EXPECT_EQ(method_of(StartMethod::fork), "fork, then fork");
    EXPECT_EQ(multiproc::get_start_method(), StartMethod::fork);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, TheChosenOneServesAllThatDoNotSay) {
  const auto result = in_child([] {
    multiproc::set_start_method(StartMethod::spawn);
    EXPECT_EQ(multiproc::get_start_method(), StartMethod::spawn);
    EXPECT_EQ(method_of(std::nullopt).substr(0, 5), "spawn");
    EXPECT_EQ(method_of(StartMethod::fork).substr(0, 4), "fork");
    multiproc::set_start_method(StartMethod::fork);
    EXPECT_EQ(method_of(std::nullopt).substr(0, 4), "fork");
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, ChildrenInheritTheChoiceHoweverTheyAreStarted) {
  const auto result = in_child([] {
    multiproc::set_start_method(StartMethod::spawn);
    EXPECT_EQ(method_of(StartMethod::spawn), "spawn, then spawn");
    EXPECT_EQ(method_of(StartMethod::fork), "fork, then spawn");
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, ASpawnedChildOfAProcessThatChoseNothingChoseNothingEither) {
  const auto result = in_child([] {
    Process child{{.start_method = StartMethod::spawn}, [] {
                    const Company company;
                    Process grandchild{targets::nothing};
                    try {
                      grandchild.start();
                    } catch (const multiproc::InvalidState&) {
                      std::exit(50);
                    }
                  }};
    child.start();
    child.join();
    EXPECT_EQ(child.exitcode(), 50);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, ForkserverIsNotToBeHadYet) {
  const auto result = in_child([] {
    try {
      multiproc::set_start_method(StartMethod::forkserver);
      FAIL();
    } catch (const multiproc::Unsupported& error) {
      EXPECT_NE(std::string(error.what()).find("forkserver"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("StartMethod::spawn"), std::string::npos) << error.what();
    }
    EXPECT_EQ(multiproc::get_start_method(), StartMethod::fork) << "the refused choice was kept";
    Process child{{.start_method = StartMethod::forkserver}, targets::nothing};
    EXPECT_THROW(child.start(), multiproc::Unsupported);
    EXPECT_EQ(child.pid(), 0);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, AMethodThatDoesNotExistIsRefused) {
  EXPECT_THROW(multiproc::set_start_method(static_cast<StartMethod>(77)), multiproc::Unsupported);
  Process child{{.start_method = static_cast<StartMethod>(-1)}, targets::nothing};
  EXPECT_THROW(child.start(), multiproc::Unsupported);
}

TEST(StartMethodTest, AnImplicitForkBesideAnotherThreadIsRefusedAndTheWaysOutAreNamed) {
  const auto result = in_child([] {
    Process child{{.name = "risky"}, targets::exit_with, 51};
    {
      const Company company;
      try {
        child.start();
        FAIL() << "forked beside a thread without a word";
      } catch (const multiproc::InvalidState& error) {
        const std::string text = error.what();
        for (const char* part : {"risky", "2 threads", "StartMethod::spawn", "set_start_method(StartMethod::spawn)",
                                 "{.start_method = StartMethod::fork}"}) {
          EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
        }
      }
      EXPECT_EQ(child.pid(), 0);
    }
    child.start();  // the thread is gone
    child.join();
    EXPECT_EQ(child.exitcode(), 51);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, AThreadThatWasJustJoinedDoesNotCount) {
  const auto result = in_child([] {
    for (int i = 0; i < 300; ++i) {
      std::thread([] {}).join();
      Process child{targets::nothing};
      child.start();
      child.join();
    }
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, ADetachedThreadThatIsAliveCounts) {
  const auto result = in_child([] {
    static std::atomic<bool> leave{false};
    std::thread([] { leave.wait(false); }).detach();
    Process child{targets::nothing};
    EXPECT_THROW(child.start(), multiproc::InvalidState);
    leave = true;
    leave.notify_all();
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, AForkThatWasAskedForGoesThroughBesideThreads) {
  const auto result = in_child([] {
    const Company company;
    EXPECT_EQ(method_of(StartMethod::fork).substr(0, 4), "fork");
    multiproc::set_start_method(StartMethod::fork);
    EXPECT_EQ(method_of(std::nullopt).substr(0, 4), "fork");
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, SpawnGoesThroughBesideThreads) {
  const auto result = in_child([] {
    const Company company;
    EXPECT_EQ(method_of(StartMethod::spawn).substr(0, 5), "spawn");
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(StartMethodTest, AForkedChildOfAProcessWithThreadsHasOneThreadAndMayFork) {
  const auto result = in_child([] {
    const Company company;
    Process child{{.start_method = StartMethod::fork}, [] {
                    Process grandchild{targets::exit_with, 52};
                    grandchild.start();
                    grandchild.join();
                    std::exit(grandchild.exitcode().value_or(1));
                  }};
    child.start();
    child.join();
    EXPECT_EQ(child.exitcode(), 52);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
