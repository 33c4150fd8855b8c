// SPDX-License-Identifier: MIT

#include <multiproc/os/life_mark.hpp>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/fault.hpp"

namespace multiproc::os {

namespace {

constexpr int kPidBits = 22;  // the kernel's PID_MAX_LIMIT is 2^22
constexpr std::uint64_t kPidMask = (std::uint64_t{1} << kPidBits) - 1;
constexpr std::uint64_t kStartMask = (std::uint64_t{1} << (kLifeMarkBits - kPidBits)) - 1;  // 87 years of 10 ms ticks

struct Stat {
  pid_t pid = 0;
  char state = '?';
  unsigned long threads = 0;
  std::uint64_t start = 0;
};

// proc(5): "pid (comm) state ...", field 20 is num_threads, field 22 starttime.
Result<Stat> read_stat(const char* path) noexcept {
  if (const int error = fault::injected("open")) return Failure{"open", error};
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Failure{"open", errno};
  char text[768];
  ssize_t got = -1;
  do {
    got = ::read(fd, text, sizeof text - 1);
  } while (got < 0 && errno == EINTR);
  const int error = got < 0 ? errno : ESRCH;  // ended between the two calls
  ::close(fd);
  if (got <= 0) return Failure{"read", error};
  text[got] = '\0';
  const char* field = std::strrchr(text, ')');  // the name may hold anything, but ends here
  if (field == nullptr || field[1] != ' ') return Failure{"read", EINVAL};
  Stat stat;
  stat.pid = static_cast<pid_t>(std::strtol(text, nullptr, 10));
  stat.state = field[2];
  ++field;
  for (int number = 3; number <= 22; ++number) {
    if (number == 20) stat.threads = std::strtoul(field + 1, nullptr, 10);
    if (number == 22) stat.start = std::strtoull(field + 1, nullptr, 10);
    field = std::strchr(field + 1, ' ');
    if (field == nullptr) return Failure{"read", EINVAL};
  }
  return stat;
}

LifeMark mark_of(const Stat& stat) noexcept {
  return (static_cast<std::uint64_t>(stat.pid) & kPidMask) | ((stat.start & kStartMask) << kPidBits);
}

// A child of ours that has ended and was not reaped: that takes no descriptor to find out, and leaves it to be reaped.
bool is_dead_child(pid_t pid) noexcept {
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid;
}

std::uint64_t namespace_number(const char* path) noexcept {
  struct stat info {};
  return ::stat(path, &info) == 0 ? info.st_ino : 0;
}

}  // namespace

Result<LifeMark> own_life_mark() noexcept {
  const auto stat = read_stat("/proc/self/stat");
  if (!stat) return stat.failure();
  if (stat.value().pid != ::getpid()) return Failure{"getpid", ESRCH};  // the /proc of another pid namespace
  return mark_of(stat.value());
}

pid_t pid_of(LifeMark mark) noexcept {
  return static_cast<pid_t>(mark & kPidMask);
}

Result<bool> look_whether_gone(LifeMark mark) noexcept {
  const pid_t pid = pid_of(mark);
  if (::kill(pid, 0) != 0 && errno == ESRCH) return true;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const auto stat = read_stat(path);
  if (!stat) {
    const bool is_want = stat.error() == EMFILE || stat.error() == ENFILE || stat.error() == ENOMEM;
    if (!is_want) return false;  // the next look's kill() will tell
    if (is_dead_child(pid)) return true;
    return stat.failure();
  }
  if (mark_of(stat.value()) != mark) return true;
  // A zombie leader may have living threads (pthread_exit in main).
  return (stat.value().state == 'Z' || stat.value().state == 'X') && stat.value().threads <= 1;
}

bool is_gone(LifeMark mark) noexcept {
  const auto gone = look_whether_gone(mark);
  return gone && gone.value();
}

// The numbers of namespaces have 32 bits. A kernel without time namespaces has none for that.
std::uint64_t pid_namespace() noexcept {
  const std::uint64_t pids = namespace_number("/proc/self/ns/pid");
  return pids == 0 ? 0 : pids << 32U | namespace_number("/proc/self/ns/time");
}

}  // namespace multiproc::os
