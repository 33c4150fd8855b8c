// SPDX-License-Identifier: MIT

#include <multiproc/os/self.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <linux/magic.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <gtest/gtest.h>

#include "os/os_test.hpp"
#include "support/in_child.hpp"
#include "support/loader.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;

// A thread that lives until it is told to go.
class Waiting {
 public:
  Waiting() : thread_([this] { leave_.wait(false); }) {}
  ~Waiting() {
    leave_ = true;
    leave_.notify_one();
    thread_.join();
  }

 private:
  std::atomic<bool> leave_{false};
  std::thread thread_;
};

TEST(SelfTest, KnowsItsOwnPidAndItsParents) {
  EXPECT_EQ(self_pid(), ::getpid());
  EXPECT_EQ(parent_pid(), ::getppid());
  const pid_t here = self_pid();

  os_test::PlainChild child{[here] { ::_exit(self_pid() != here && parent_pid() == here ? 0 : 1); }};

  EXPECT_EQ(child.wait(), 0);
}

TEST(OnMainThreadTest, IsTrueThereAloneAndInAChildOfAnyThread) {
  EXPECT_TRUE(on_main_thread());
  std::thread{[] {
    EXPECT_FALSE(on_main_thread());
    os_test::PlainChild child{[] { ::_exit(on_main_thread() ? 0 : 1); }};  // it is the only one there
    EXPECT_EQ(child.wait(), 0);
  }}.join();
}

TEST(ThreadCountTest, FollowsAProcessThroughItsLife) {
  const auto result = support::run_program(support::program("os_threads"));

  EXPECT_EQ(result.out, "first: 1 1\nmeanwhile: 0 2\nafter: 0 1\n");
}

TEST(ThreadCountTest, CountsTheThreadsThatLive) {
  const Waiting first;
  EXPECT_EQ(thread_count(), 2U);
  {
    const Waiting second;
    const Waiting third;
    EXPECT_EQ(thread_count(), 4U);
  }
  EXPECT_EQ(thread_count(), 2U);
}

TEST(ThreadCountTest, IsRightAtOnceAfterAJoin) {
  for (int round = 0; round < 200; ++round) {
    {
      const Waiting one;
      const Waiting other;
    }
    ASSERT_EQ(thread_count(), 1U) << "round " << round;
  }
}

TEST(ThreadCountTest, IsRightAtOnceAfterAJoinWhileAnotherThreadLives) {
  const Waiting stays;
  for (int round = 0; round < 200; ++round) {
    {
      const Waiting goes;
    }
    ASSERT_EQ(thread_count(), 2U) << "round " << round;
  }
}

TEST(ThreadCountTest, IsRightWhateverTheThreadIsCalled) {
  const Waiting other;
  for (const char* name : {") S 1 2 3 4 5", "a b) R (", "(((", ") Z 4 4 4 4 4 4"}) {
    char before[16];
    ::prctl(PR_GET_NAME, before);
    ::prctl(PR_SET_NAME, name);
    EXPECT_EQ(thread_count(), 2U) << name;
    ::prctl(PR_SET_NAME, before);
  }
}

TEST(ThreadCountTest, IsOneInAForkedChildOfAProcessWithThreads) {
  const Waiting other;
  os_test::PlainChild child{[] { ::_exit(static_cast<int>(thread_count())); }};

  EXPECT_EQ(WEXITSTATUS(child.wait()), 1);
}

TEST(ThreadCountTest, WithAFullDescriptorTableItNeverSaysThatThereIsOneThreadAlone) {
  for (unsigned spare = 0; spare < 3; ++spare) {
    const auto result = support::in_child([spare] {
      const Waiting first;
      const Waiting second;
      rlimit usual{};
      ::getrlimit(RLIMIT_NOFILE, &usual);
      os_test::leave_room_for(spare);
      const unsigned count = thread_count();
      ::setrlimit(RLIMIT_NOFILE, &usual);

      EXPECT_TRUE(count == 0 || count == 3) << count;
    });
    EXPECT_EQ(result.status, 0) << "spare: " << spare << "\n" << result.out;
  }
}

TEST(UsableCpusTest, IsAtLeastOneAndNoMoreThanTheMachineHas) {
  EXPECT_GE(usable_cpus(), 1U);
  EXPECT_LE(usable_cpus(), static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_CONF)));
}

TEST(UsableCpusTest, FollowsTheAffinityMask) {
  const auto result = support::in_child([] {
    cpu_set_t ours;
    ASSERT_EQ(::sched_getaffinity(0, sizeof ours, &ours), 0);
    std::size_t cpu = 0;
    while (!CPU_ISSET(cpu, &ours)) ++cpu;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ASSERT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);

    EXPECT_EQ(usable_cpus(), 1U);
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

// A cgroup of our own, of whichever version this machine has, if it lets us make one.
class Cgroup {
 public:
  Cgroup() {
    const std::string name = "multiproc-test." + std::to_string(::getpid());
    struct statfs root {};
    v2_ = ::statfs("/sys/fs/cgroup", &root) == 0 && root.f_type == CGROUP2_SUPER_MAGIC;
    path_ = std::filesystem::path{v2_ ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu"} / name;
    made_ = ::statfs(path_.parent_path().c_str(), &root) == 0 &&
            root.f_type == (v2_ ? CGROUP2_SUPER_MAGIC : CGROUP_SUPER_MAGIC) && ::mkdir(path_.c_str(), 0755) == 0;
  }
  ~Cgroup() {
    // The group is empty once its last process is out of the kernel's lists, a moment after it was reaped.
    while (made_ && ::rmdir(path_.c_str()) != 0 && errno == EBUSY) std::this_thread::yield();
  }
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;

  /// Microseconds of CPU in each 100 ms; 0: no limit. False where that can't be set.
  bool allow(int quota) const {
    if (v2_) return made_ && write("cpu.max", (quota > 0 ? std::to_string(quota) : "max") + " 100000");
    return made_ && write("cpu.cfs_period_us", "100000") &&
           write("cpu.cfs_quota_us", std::to_string(quota > 0 ? quota : -1));
  }
  bool enter() const { return write("cgroup.procs", std::to_string(::getpid())); }

 private:
  bool write(const char* file, const std::string& text) const {
    std::ofstream out{path_ / file};
    return bool(out << text << std::flush);
  }
  std::filesystem::path path_;
  bool v2_ = false;
  bool made_ = false;
};

TEST(UsableCpusTest, IsCutToTheQuotaOfTheCgroupRoundedUp) {
  if (usable_cpus() < 2) GTEST_SKIP() << "one CPU can't be cut";
  const Cgroup group;
  if (!group.allow(50'000)) GTEST_SKIP() << "no cgroup with a cpu controller can be made here";
  constexpr int kNotIn = 77;
  const auto with = [&](int quota) {
    const auto result = support::in_child([&] {
      if (!group.allow(quota) || !group.enter()) return kNotIn;
      return static_cast<int>(usable_cpus());
    });
    return result.status;
  };
  if (with(0) == kNotIn) GTEST_SKIP() << "no process may enter the cgroup";

  EXPECT_EQ(with(50'000), 1);
  EXPECT_EQ(with(100'000), 1);
  EXPECT_EQ(with(110'000), 2);
  EXPECT_EQ(with(0), static_cast<int>(usable_cpus()));
}

TEST(OwnImageTest, ExecutesThisProgramEvenAfterItsFileIsGone) {
  const auto copy = std::filesystem::path{testing::TempDir()} / ("os_self_test." + std::to_string(::getpid()));
  std::filesystem::copy_file(support::program("os_own_image"), copy);

  const auto result = support::run_program(copy.string(), {"delete", copy.string()});
  std::error_code gone;
  std::filesystem::remove(copy, gone);

  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "deleted\nsecond run\n");
}

// A program started by a relative path, from the folder that it lies in.
support::ChildResult run_from_its_folder(const std::vector<std::string>& words) {
  const std::filesystem::path file = support::program("os_own_image");
  return support::in_child([&]() -> int {
    std::filesystem::current_path(file.parent_path());
    std::vector<char*> arguments;
    std::vector<std::string> copies = words;
    for (std::string& word : copies) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ::execv(arguments[0], arguments.data());
    return 127;
  });
}

TEST(OwnImageTest, WithoutProcIsThePathOfTheStartWhereverTheProgramHasGone) {
  for (const char* path : {"./os_own_image", "os_own_image", "../programs/os_own_image"}) {
    EXPECT_EQ(run_from_its_folder({path, "without_proc"}).out, "elsewhere\nsecond run\n") << path;
  }
  EXPECT_EQ(support::run_program(support::program("os_own_image"), {"without_proc"}).out, "elsewhere\nsecond run\n");
}

TEST(OwnImageTest, OfAProgramThatTheLoaderRunsIsTheLoaderWithItsWords) {
  const std::string loader = support::loader();
  if (loader.empty()) GTEST_SKIP() << "a static program has none";

  EXPECT_EQ(run_from_its_folder({loader, "./os_own_image", "again"}).out, "second run\n");
  EXPECT_EQ(run_from_its_folder({loader, "--inhibit-cache", "./os_own_image", "again"}).out, "second run\n");
  EXPECT_EQ(run_from_its_folder({loader, "./os_own_image", "without_proc"}).out, "elsewhere\nno way\n");
}

TEST(EnvironmentTest, IsWhatTheProcessHas) {
  EXPECT_EQ(environment(), environ);
}

TEST(ExitNowTest, EndsWithoutHandlersDestructorsAndFlush) {
  const auto result = support::in_child([] {
    static const struct Loud {
      ~Loud() { (void)!::write(1, "destructor", 10); }
    } loud;
    std::atexit([] { (void)!::write(1, "handler", 7); });
    std::printf("unflushed");
    exit_now(19);
  });

  EXPECT_EQ(result.status, 19);
  EXPECT_EQ(result.out, os_test::kThreadSanitizer ? "unflushed" : "") << "ThreadSanitizer's own _exit flushes";
}

TEST(NameProcessTest, KeepsFifteenBytes) {
  const auto result = support::in_child([] {
    const auto name = [] {
      std::string text;
      std::getline(std::ifstream{"/proc/self/comm"}, text);
      return text;
    };
    name_process("worker-1");
    EXPECT_EQ(name(), "worker-1");
    name_process("a name that is longer than that");
    EXPECT_EQ(name(), "a name that is ");
    name_process("");
    EXPECT_EQ(name(), "");
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

}  // namespace
