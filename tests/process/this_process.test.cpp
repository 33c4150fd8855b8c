// SPDX-License-Identifier: MIT

#include <multiproc/process/this_process.hpp>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Process;
using multiproc::StartMethod;
using support::in_child;
using support::Wire;
using support::Witness;
namespace targets = support::targets;
namespace fs = std::filesystem;

class ThisProcessTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(ThisProcessTest);

// ---- current_process

TEST(CurrentProcessTest, InTheFirstProcessIsTheMainProcess) {
  const auto me = multiproc::current_process();
  EXPECT_EQ(me.pid(), ::getpid());
  EXPECT_EQ(me.name(), "MainProcess");
  EXPECT_TRUE(me.is_alive());
}

TEST(CurrentProcessTest, CanNotWaitForItself) {
  const auto me = multiproc::current_process();
  EXPECT_THROW((void)me.join(), multiproc::InvalidState);
  EXPECT_THROW((void)me.join(0s), multiproc::InvalidState);
  EXPECT_THROW((void)me.sentinel(), multiproc::InvalidState);
}

TEST_P(ThisProcessTest, InAChildIsWhatItsProcessObjectSays) {
  const Wire wire;
  Process child{options({.name = "child of names"}),
                [](const std::string& path) {
                  const auto me = multiproc::current_process();
                  Wire::tell(path, std::to_string(me.pid()) + " " + me.name());
                },
                wire.path()};
  child.start();
  child.join();
  EXPECT_EQ(wire.hear(), std::to_string(child.pid()) + " child of names");
}

// ---- parent_process

TEST(ParentProcessTest, TheFirstProcessHasNone) {
  EXPECT_FALSE(multiproc::parent_process().has_value());
}

TEST_P(ThisProcessTest, AChildKnowsItsParent) {
  const Wire wire;
  Process child{options({.name = "middle"}),
                [](StartMethod method, const std::string& path) {
                  const auto parent = multiproc::parent_process().value();
                  Wire::tell(path, std::to_string(parent.pid()) + " " + parent.name() +
                                       (parent.is_alive() ? " alive" : " dead") +
                                       (parent.join(0s) ? " ended" : " runs"));
                  Process grandchild{
                      {.start_method = method},
                      [](const std::string& deeper) { Wire::tell(deeper, multiproc::parent_process().value().name()); },
                      path};
                  grandchild.start();
                  grandchild.join();
                },
                GetParam(), wire.path()};
  child.start();
  child.join();
  EXPECT_EQ(wire.hear(), std::to_string(::getpid()) + " MainProcess alive runs");
  EXPECT_EQ(wire.hear(), "middle");
}

// The parent is a process between us and the child; it is killed when the child has had a look at it.
TEST_P(ThisProcessTest, AChildCanWaitForTheEndOfItsParent) {
  const Wire wire;
  const auto result = in_child([&] {
    auto* child = new Process{options(),
                              [](const std::string& path) {
                                const auto parent = multiproc::parent_process().value();
                                pollfd end{parent.sentinel(), POLLIN, 0};
                                Wire::tell(path, std::string(parent.join(10ms) ? "ended" : "runs") +
                                                     (::poll(&end, 1, 0) == 0 ? "" : ", readable"));
                                const bool ended = parent.join();
                                Wire::tell(path, std::string(ended && !parent.is_alive() ? "ended" : "runs") +
                                                     (::poll(&end, 1, 0) == 1 ? ", readable" : ""));
                                const auto again = multiproc::parent_process().value();  // asked for after its death
                                Wire::tell(path, again.join(0s) && !again.is_alive() ? "ended" : "runs");
                              },
                              wire.path()};
    child->start();
    EXPECT_EQ(wire.hear(), "runs");
    ::kill(::getpid(), SIGKILL);
  });

  EXPECT_EQ(result.status, -SIGKILL) << result.out << result.err;
  EXPECT_EQ(wire.hear(), "ended, readable");
  EXPECT_EQ(wire.hear(), "ended");
}

// ---- active_children

std::vector<std::string> names_of(const std::vector<multiproc::ProcessInfo>& children) {
  std::vector<std::string> names;
  for (const auto& child : children) names.push_back(child.name());
  return names;
}

TEST_P(ThisProcessTest, ListsTheChildrenThatRunInTheOrderOfTheirStart) {
  using Names = std::vector<std::string>;
  const Wire wire;
  EXPECT_EQ(names_of(multiproc::active_children()), Names{});
  Process first{options({.name = "first"}), targets::wait_for_word, wire.path()};
  Process second{options({.name = "second", .daemon = true}), targets::sleep_for_ever};
  const Process never{options({.name = "never"}), targets::nothing};
  EXPECT_EQ(names_of(multiproc::active_children()), Names{});

  second.start();
  first.start();
  EXPECT_EQ(names_of(multiproc::active_children()), (Names{"second", "first"}));
  EXPECT_EQ(multiproc::active_children().at(1).pid(), first.pid());

  second.kill();
  ASSERT_TRUE(Witness(second.pid()).ends());
  EXPECT_EQ(names_of(multiproc::active_children()), Names{"first"}) << "one that has ended is not active";

  wire.tell("end");
  first.join();
  EXPECT_EQ(names_of(multiproc::active_children()), Names{});
  second.join();
  EXPECT_EQ(second.exitcode(), -SIGKILL) << "the list must not lose the status";
}

TEST_P(ThisProcessTest, AHandleFromTheListWaitsAndTakesNothingAway) {
  const Wire wire;
  Process child{options(),
                [](const std::string& path) {
                  (void)Wire::hear(path);
                  std::exit(60);
                },
                wire.path()};
  child.start();
  const auto handle = multiproc::active_children().at(0);
  EXPECT_TRUE(handle.is_alive());
  EXPECT_FALSE(handle.join(10ms));
  pollfd end{handle.sentinel(), POLLIN, 0};
  EXPECT_EQ(::poll(&end, 1, 0), 0);

  wire.tell("end");

  EXPECT_TRUE(handle.join());
  EXPECT_FALSE(handle.is_alive());
  EXPECT_EQ(::poll(&end, 1, 0), 1);
  child.join();
  EXPECT_EQ(child.exitcode(), 60);
}

TEST_P(ThisProcessTest, AHandleOutlivesItsProcessObject) {
  std::optional<multiproc::ProcessInfo> handle;
  {
    Process child{options({.name = "short", .daemon = true}), targets::sleep_for_ever};
    child.start();
    handle = multiproc::active_children().at(0);
  }
  EXPECT_FALSE(handle->is_alive());
  EXPECT_TRUE(handle->join());
  EXPECT_EQ(handle->name(), "short");
}

TEST_P(ThisProcessTest, AForkedChildHasNoChildrenYet) {
  const Wire wire;
  Process child{options(), targets::wait_for_word, wire.path()};
  child.start();

  const auto result = in_child([] {
    EXPECT_TRUE(multiproc::active_children().empty());
    Process own{options({.name = "own", .daemon = true}), targets::sleep_for_ever};
    own.start();
    EXPECT_EQ(names_of(multiproc::active_children()), std::vector<std::string>{"own"});
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_EQ(multiproc::active_children().size(), 1U);
  wire.tell("end");
}

TEST_P(ThisProcessTest, AStartThatFailedLeavesNothingInTheList) {
  Process child{options({.cwd = "/nobody/made/this"}), targets::nothing};
  EXPECT_THROW(child.start(), multiproc::SystemError);
  EXPECT_TRUE(multiproc::active_children().empty());
}

// ---- cpu_count

TEST(CpuCountTest, IsAtLeastOneAndNotMoreThanTheMachineHas) {
  EXPECT_GE(multiproc::cpu_count(), 1U);
  EXPECT_LE(multiproc::cpu_count(), static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_CONF)));
}

TEST(CpuCountTest, FollowsTheAffinity) {
  const auto result = in_child([] {
    cpu_set_t mine;
    CPU_ZERO(&mine);
    ::sched_getaffinity(0, sizeof mine, &mine);
    std::size_t first = 0;
    while (!CPU_ISSET(first, &mine)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
    EXPECT_EQ(multiproc::cpu_count(), 1U);
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

// A cgroup of our own below the one that this process is in, for as long as this lives.
class Cgroup {
 public:
  explicit Cgroup(const fs::path& parent) : path_(parent / ("multiproc-test-" + std::to_string(::getpid()))) {
    std::error_code error;
    made_ = fs::create_directory(path_, error);
  }
  ~Cgroup() {
    std::error_code error;
    if (made_) fs::remove(path_, error);  // rmdir: its files are the kernel's
  }

  /// False: the kernel does not let us.
  bool write(const char* file, const std::string& text) const {
    std::ofstream out(path_ / file);
    out << text << std::flush;
    return made_ && out.good();
  }

 private:
  fs::path path_;
  bool made_ = false;
};

// The folder of this process in the hierarchy of the cpu controller; "" where there is none.
fs::path own_cgroup(bool version_2) {
  std::ifstream lines("/proc/self/cgroup");
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = line.find(':', first + 1);
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (version_2 && controllers.empty() && fs::exists("/sys/fs/cgroup/cgroup.controllers")) {
      return "/sys/fs/cgroup" + (path == "/" ? "" : path);
    }
    if (!version_2 && ("," + controllers + ",").find(",cpu,") != std::string::npos) {
      for (const std::string& mount : {"/sys/fs/cgroup/" + controllers, std::string("/sys/fs/cgroup/cpu")}) {
        if (fs::exists(mount + "/cpu.cfs_quota_us")) return mount + (path == "/" ? "" : path);
      }
    }
  }
  return {};
}

class QuotaTest : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(EveryVersion, QuotaTest, testing::Bool(),
                         [](const auto& version) { return version.param ? "cgroup_v2" : "cgroup_v1"; });

TEST_P(QuotaTest, CutsTheCountAndIsRoundedUp) {
  const bool version_2 = GetParam();
  const fs::path parent = own_cgroup(version_2);
  if (parent.empty()) GTEST_SKIP() << "no such hierarchy with a cpu controller here";
  const unsigned all = multiproc::cpu_count();
  if (all < 2) GTEST_SKIP() << "one CPU can't be cut";
  const Cgroup group(parent);
  const auto limit = [&](const std::string& quota) {
    return version_2 ? group.write("cpu.max", quota + " 100000")
                     : group.write("cpu.cfs_period_us", "100000") && group.write("cpu.cfs_quota_us", quota);
  };
  if (!limit("50000")) GTEST_SKIP() << "may not make a cgroup below " << parent;

  const auto result = in_child([&]() -> int {
    if (!group.write("cgroup.procs", std::to_string(::getpid()))) return 77;
    EXPECT_EQ(multiproc::cpu_count(), 1U) << "half a CPU";
    EXPECT_TRUE(limit("100000"));
    EXPECT_EQ(multiproc::cpu_count(), 1U);
    EXPECT_TRUE(limit("110000"));
    EXPECT_EQ(multiproc::cpu_count(), 2U) << "a little more than one";
    EXPECT_TRUE(limit("100000000"));
    EXPECT_EQ(multiproc::cpu_count(), all) << "a quota gives no CPU that the affinity has not";
    EXPECT_TRUE(limit(version_2 ? "max" : "-1"));
    EXPECT_EQ(multiproc::cpu_count(), all);
    return 0;
  });

  if (result.status == 77) GTEST_SKIP() << "may not enter a cgroup below " << parent;
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
