// SPDX-License-Identifier: MIT
//
// os/os_test.hpp: what the tests of the os floor share: a kernel that refuses, a storm of signals, the descriptors at
// hand.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "os/fault.hpp"
#include "os/sanitizer.hpp"

namespace os_test {

using multiproc::os::kThreadSanitizer;

/// What one read of `fd` brings.
inline std::string read_from(int fd) {
  std::array<char, 256> buffer;
  const auto got = ::read(fd, buffer.data(), buffer.size());
  return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

/// While it lives the calls `nth`, `nth`+1, ... (`times` of them) of `call` answer `error`.
class Refusing {
 public:
  Refusing(const char* call, int error, int nth = 1, int times = 1) {
    multiproc::os::fault::arm(call, error, nth, times);
  }
  ~Refusing() { multiproc::os::fault::disarm(); }
  Refusing(const Refusing&) = delete;
  Refusing& operator=(const Refusing&) = delete;
};

/// A signal to the calling thread every now and then, whose handler does nothing and after which no system call is
/// restarted by the kernel: what waits must go on by itself.
class SignalStorm {
 public:
  explicit SignalStorm(std::chrono::nanoseconds every = std::chrono::milliseconds(1)) {
    struct sigaction action {};
    action.sa_handler = [](int) { arrived().fetch_add(1, std::memory_order_relaxed); };
    ::sigaction(SIGUSR2, &action, &before_);
    struct sigevent event {};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = SIGUSR2;
    event._sigev_un._tid = static_cast<pid_t>(::syscall(SYS_gettid));
    if (::timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) {
      throw std::system_error{errno, std::generic_category(), "timer_create"};
    }
    arrived() = 0;
    struct itimerspec when {};
    when.it_value.tv_nsec = when.it_interval.tv_nsec = every.count();
    ::timer_settime(timer_, 0, &when, nullptr);
  }
  ~SignalStorm() {
    ::timer_delete(timer_);
    ::sigaction(SIGUSR2, &before_, nullptr);
  }
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;

  /// How many handlers have run.
  static int signals() { return arrived().load(std::memory_order_relaxed); }

 private:
  static std::atomic<int>& arrived() {
    static std::atomic<int> count{0};
    return count;
  }
  timer_t timer_{};
  struct sigaction before_ {};
};

/// All descriptors of this process and what they lead to.
inline std::map<int, std::string> descriptors() {
  std::map<int, std::string> found;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder{::opendir("/proc/self/fd"), &::closedir};
  while (const dirent* entry = folder ? ::readdir(folder.get()) : nullptr) {
    const std::string_view name{entry->d_name};
    int number = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
    if (error != std::errc{} || number == ::dirfd(folder.get())) continue;
    std::error_code gone;
    found[number] = std::filesystem::read_symlink("/proc/self/fd/" + std::string{name}, gone).string();
  }
  return found;
}

inline bool is_close_on_exec(int fd) {
  const int flags = ::fcntl(fd, F_GETFD);
  return flags >= 0 && (flags & FD_CLOEXEC) != 0;
}

inline bool is_open(int fd) {
  return ::fcntl(fd, F_GETFD) >= 0;
}

/// True when this process has no child, not even a dead one.
inline bool has_no_child() {
  siginfo_t info{};
  return ::waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) != 0 && errno == ECHILD;
}

/// Runs `act`, which returns a Result, again and again while the first, the second, ... call of `call` in it answers
/// `error`. Expects that errno from each run and nothing left of it, and success once no call is refused.
template <class Act>
void expect_each_refusal(const char* call, std::initializer_list<int> errors, Act act) {
  for (const int error : errors) {
    int nth = 1;
    for (;; ++nth) {
      SCOPED_TRACE(std::string{"call "} + std::to_string(nth) + " of " + call + ": " + std::strerror(error));
      const auto before = descriptors();
      bool made = false;
      {
        const Refusing refusing{call, error, nth};
        auto result = act();
        made = multiproc::os::fault::seen(call) >= nth;
        EXPECT_EQ(result.error(), made ? error : 0) << result.failure().call;
      }
      EXPECT_EQ(descriptors(), before);
      EXPECT_TRUE(has_no_child());
      if (!made || testing::Test::HasFailure()) break;
    }
    EXPECT_GT(nth, 1) << "no call of " << call << " was made";
  }
}

/// The same for what must be tried again: every run succeeds.
template <class Act>
void expect_each_repeated(const char* call, int error, Act act) {
  int nth = 1;
  for (;; ++nth) {
    SCOPED_TRACE(std::string{"call "} + std::to_string(nth) + " of " + call + ": " + std::strerror(error));
    const Refusing refusing{call, error, nth, 3};
    auto result = act();
    EXPECT_EQ(result.error(), 0) << result.failure().call;
    if (multiproc::os::fault::seen(call) < nth || testing::Test::HasFailure()) break;
  }
  EXPECT_GT(nth, 1) << "no call of " << call << " was made";
}

/// A forked child of the plain kind, without the library; killed and reaped when it goes.
class PlainChild {
 public:
  template <class Body>
  explicit PlainChild(Body body) : pid_(::fork()) {
    if (pid_ == 0) {
      body();
      ::_exit(0);
    }
  }
  ~PlainChild() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  PlainChild(const PlainChild&) = delete;
  PlainChild& operator=(const PlainChild&) = delete;

  pid_t pid() const { return pid_; }

  /// waitpid's status.
  int wait() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }
  pid_t release() { return std::exchange(pid_, -1); }

 private:
  pid_t pid_;
};

/// Lowers RLIMIT_NOFILE (the soft limit) so that this process can open `spare` descriptors more and no others. For
/// children: the limit stays.
inline void leave_room_for(unsigned spare) {
  const auto taken = descriptors();
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  int number = 0;
  for (unsigned found = 0; found < spare || taken.contains(number); ++number) {
    if (!taken.contains(number)) ++found;
  }
  limit.rlim_cur = static_cast<rlim_t>(number);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

[[noreturn]] inline void pause_for_ever() {
  for (;;) ::pause();
}

inline std::span<const std::byte> bytes_of(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace os_test
