// SPDX-License-Identifier: MIT

#include "support/leak_guard.hpp"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <sstream>
#include <thread>

#include <dirent.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/watchdog.hpp"

namespace support {
namespace {

namespace fs = std::filesystem;

// The numbers among a folder's names; without the descriptor through which it is being read.
std::vector<int> numbers_in(const fs::path& folder) {
  std::vector<int> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir{::opendir(folder.c_str()), &::closedir};
  if (!dir) return numbers;
  const bool is_our_own_list = folder == "/proc/self/fd";
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name{entry->d_name};
    int number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc{} || end != name.data() + name.size()) continue;
    if (is_our_own_list && number == ::dirfd(dir.get())) continue;
    numbers.push_back(number);
  }
  return numbers;
}

std::string link_target(const fs::path& link) {
  std::error_code gone;
  const fs::path target = fs::read_symlink(link, gone);
  return gone ? std::string{} : target.string();
}

// A file of /proc whose process ends while it is read throws, whatever exceptions() says.
std::string text_of(const fs::path& file) {
  std::ifstream in{file};
  std::string text;
  try {
    text.assign(std::istreambuf_iterator<char>{in}, {});
  } catch (const std::ios_base::failure&) {
  }
  return text;
}

// "name, state Z" out of "12 (name) Z 1 ...".
std::string name_and_state(const std::string& stat) {
  const auto open = stat.find('(');
  const auto close = stat.rfind(')');
  if (open == stat.npos || close == stat.npos || close + 2 >= stat.size()) return "gone";
  return stat.substr(open + 1, close - open - 1) + ", state " + stat[close + 2];
}

std::map<pid_t, std::string> children_of_this_process() {
  std::map<pid_t, std::string> children;
  for (const int thread : numbers_in("/proc/self/task")) {
    std::istringstream pids{text_of("/proc/self/task/" + std::to_string(thread) + "/children")};
    for (pid_t pid = 0; pids >> pid;) {
      children[pid] = name_and_state(text_of("/proc/" + std::to_string(pid) + "/stat"));
    }
  }
  return children;
}

// Whether a process other than this one has the file open or mapped.
bool is_held_elsewhere(const std::string& file) {
  for (const int pid : numbers_in("/proc")) {
    if (pid == ::getpid()) continue;
    const fs::path process = "/proc/" + std::to_string(pid);
    for (const int fd : numbers_in(process / "fd")) {
      if (link_target(process / "fd" / std::to_string(fd)) == file) return true;
    }
    if (text_of(process / "maps").find(file + "\n") != std::string::npos) return true;
  }
  return false;
}

// "name.<pid>" or "name.<pid>.<number>", of a process that lives and is neither this one nor one of its own.
bool belongs_to_a_stranger(const std::string& file) {
  std::string rest = fs::path(file).filename().string();
  for (int ending = 0; ending < 2; ++ending) {
    const std::size_t dot = rest.rfind('.');
    if (dot == std::string::npos) return false;
    int pid = std::atoi(rest.c_str() + dot + 1);
    rest.resize(dot);
    if (pid <= 1 || !fs::exists("/proc/" + std::to_string(pid))) continue;
    while (pid > 1 && pid != ::getpid()) {
      const std::string stat = text_of("/proc/" + std::to_string(pid) + "/stat");
      const std::size_t name_end = stat.rfind(')');  // "pid (name) state parent ..."
      pid = name_end == std::string::npos ? 0 : std::atoi(stat.c_str() + name_end + 4);
    }
    if (pid != ::getpid()) return true;
  }
  return false;
}

class LeakGuard : public testing::EmptyTestEventListener {
 public:
  void OnTestStart(const testing::TestInfo&) override { before_ = Census::take(); }

  void OnTestEnd(const testing::TestInfo&) override {
    for (const std::string& difference : left_over_since(before_)) ADD_FAILURE() << "leak guard: " << difference;
  }

 private:
  Census before_;
};

}  // namespace

Census Census::take() {
  Census census;
  for (const int fd : numbers_in("/proc/self/fd")) {
    census.descriptors[fd] = link_target("/proc/self/fd/" + std::to_string(fd));
  }
  census.children = children_of_this_process();
  for (const int thread : numbers_in("/proc/self/task")) {
    std::string name = text_of("/proc/self/task/" + std::to_string(thread) + "/comm");
    if (!name.empty() && name.back() == '\n') name.pop_back();
    census.threads[thread] = name;
  }
  std::error_code absent;
  for (const auto& entry : fs::directory_iterator{"/dev/shm", absent}) census.shm_names.insert(entry.path().string());
  return census;
}

std::vector<std::string> differences(const Census& before, const Census& after) {
  std::vector<std::string> found;
  for (const auto& [fd, target] : after.descriptors) {
    const auto known = before.descriptors.find(fd);
    if (known == before.descriptors.end()) {
      found.push_back("descriptor " + std::to_string(fd) + " is still open: " + target);
    } else if (known->second != target) {
      found.push_back("descriptor " + std::to_string(fd) + " was " + known->second + " and is now " + target);
    }
  }
  for (const auto& [fd, target] : before.descriptors) {
    if (!after.descriptors.contains(fd)) {
      found.push_back("descriptor " + std::to_string(fd) + " was closed, but not by its owner: " + target);
    }
  }
  for (const auto& [pid, text] : after.children) {
    if (!before.children.contains(pid)) found.push_back("child " + std::to_string(pid) + " is left: " + text);
  }
  for (const auto& [tid, name] : after.threads) {
    if (!before.threads.contains(tid)) found.push_back("thread " + std::to_string(tid) + " still runs: " + name);
  }
  for (const auto& name : after.shm_names) {
    if (before.shm_names.contains(name) || is_held_elsewhere(name) || belongs_to_a_stranger(name)) continue;
    found.push_back("shared memory is left: " + name);
  }
  return found;
}

std::vector<std::string> left_over_since(const Census& before) {
  using namespace std::chrono_literals;
  const auto patience = std::chrono::steady_clock::now() + scaled(2000ms);
  for (auto pause = 1ms;; pause = std::min(2 * pause, 100ms)) {
    auto found = differences(before, Census::take());
    if (found.empty() || std::chrono::steady_clock::now() > patience) return found;
    std::this_thread::sleep_for(pause);
  }
}

void install_leak_guard() {
  std::thread{[] {}}.join();  // ThreadSanitizer begins its own thread with our first: before the first census, then
  testing::UnitTest::GetInstance()->listeners().Append(new LeakGuard);
}

}  // namespace support
