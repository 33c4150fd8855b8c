// SPDX-License-Identifier: MIT
//
// tests/process/wire.hpp: lines between a test and any process below it, and proof that such a process is gone.
//
// A Wire is a pipe of the test's, reached through its path in /proc: forked, spawned and executed processes use it
// alike, and it is still there when the process between them and the test is not.
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/watchdog.hpp"

namespace support {

/// How long a test waits for what is about to happen: long enough that only a hang gets there.
inline constexpr std::chrono::milliseconds kPatience{20'000};

class Wire {
 public:
  Wire() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
    path_ = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(ends_[0]);
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  ~Wire() {
    for (const int end : ends_) ::close(end);
  }

  const std::string& path() const { return path_; }

  /// Sends a line to whoever listens at path(), or at hear().
  void tell(std::string_view line) const { write_line(ends_[1], line); }

  /// The next line that anybody told. Throws when none comes.
  std::string hear(std::chrono::milliseconds patience = kPatience) const {
    return read_line(ends_[0], std::chrono::steady_clock::now() + scaled(patience));
  }

  long hear_number() const { return std::stol(hear()); }

  /// Whether a line, or a part of one, is waiting.
  bool has_something() const {
    pollfd ready{ends_[0], POLLIN, 0};
    return ::poll(&ready, 1, 0) > 0;
  }

  /// The same from the other process. Lines of up to 4095 bytes come whole, however many tell at once.
  static void tell(const std::string& path, std::string_view line) {
    const int fd = open(path, O_WRONLY);
    write_line(fd, line);
    ::close(fd);
  }
  static std::string hear(const std::string& path) {
    const int fd = open(path, O_RDONLY);
    std::string line = read_line(fd, std::chrono::steady_clock::now() + scaled(kPatience));
    ::close(fd);
    return line;
  }

 private:
  static int open(const std::string& path, int mode) {
    const int fd = ::open(path.c_str(), mode | O_CLOEXEC);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "wire " + path);
    return fd;
  }

  static void write_line(int fd, std::string_view line) {
    std::string text(line);
    text += '\n';
    if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
      throw std::system_error(errno, std::generic_category(), "wire");
    }
  }

  // Byte by byte, so that what follows is there for the next reader.
  static std::string read_line(int fd, std::chrono::steady_clock::time_point until) {
    std::string line;
    for (;;) {
      pollfd ready{fd, POLLIN, 0};
      const auto left =
          std::chrono::duration_cast<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
      if (left <= 0) throw std::runtime_error("nothing came through the wire but '" + line + "'");
      if (::poll(&ready, 1, static_cast<int>(left)) <= 0) continue;
      char byte = 0;
      const ssize_t got = ::read(fd, &byte, 1);
      if (got < 0 && errno != EINTR && errno != EAGAIN) throw std::system_error(errno, std::generic_category(), "wire");
      if (got != 1) continue;
      if (byte == '\n') return line;
      line += byte;
    }
  }

  std::array<int, 2> ends_{-1, -1};
  std::string path_;
};

/// Any process by its pidfd: its end can be waited for by those who are not its parent.
class Witness {
 public:
  explicit Witness(long pid) : fd_(static_cast<int>(::syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0))) {}
  Witness(Witness&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Witness(const Witness&) = delete;
  Witness& operator=(const Witness&) = delete;
  ~Witness() {
    if (fd_ >= 0) ::close(fd_);
  }

  bool is_alive() const {
    pollfd end{fd_, POLLIN, 0};
    return fd_ >= 0 && ::poll(&end, 1, 0) == 0;
  }

  /// Waits for the end. False: it lives on.
  bool ends(std::chrono::milliseconds patience = kPatience) const {
    if (fd_ < 0) return true;
    pollfd end{fd_, POLLIN, 0};
    return ::poll(&end, 1, static_cast<int>(scaled(patience).count())) == 1;
  }

  void kill() const { ::syscall(SYS_pidfd_send_signal, fd_, SIGKILL, nullptr, 0); }

 private:
  int fd_;
};

/// The open descriptors of the calling process.
inline std::vector<int> open_descriptors() {
  std::vector<int> found;
  DIR* const folder = ::opendir("/proc/self/fd");
  while (const dirent* entry = ::readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] != '.' && fd != ::dirfd(folder)) found.push_back(fd);
  }
  ::closedir(folder);
  std::sort(found.begin(), found.end());
  return found;
}

/// Makes the calling process the one that its orphaned descendants fall to.
inline void adopt_orphans() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}

/// Reaps until there is no child left. In in_child(), whose limit ends a wait that would not.
inline int reap_all() {
  int reaped = 0;
  for (;;) {
    const pid_t pid = ::waitpid(-1, nullptr, 0);
    if (pid > 0) ++reaped;
    if (pid < 0 && errno != EINTR) return reaped;
  }
}

/// Targets that several tests use.
namespace targets {

inline void nothing() {}
inline void exit_with(int code) {
  std::exit(code);
}
inline void sleep_for_ever() {
  for (;;) ::pause();
}
inline void tell_and_sleep(const std::string& wire) {
  Wire::tell(wire, std::to_string(::getpid()));
  sleep_for_ever();
}
/// Lives until the wire says a word.
inline void wait_for_word(const std::string& wire) {
  (void)Wire::hear(wire);
}

}  // namespace targets
}  // namespace support
