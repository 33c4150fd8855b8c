// SPDX-License-Identifier: MIT

#include <multiproc/os/output.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <ctime>

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <multiproc/os/pipe.hpp>
#include <multiproc/os/poll.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

static_assert(kWholeWrite == PIPE_BUF);

namespace {

constexpr int kNoSignal = 0x100;  // RWF_NOSIGNAL, Linux 6.18; not yet in everybody's headers

// One writev that raises no SIGPIPE; or -errno.
ssize_t write_with_flag(int fd, const iovec* parts, int count) noexcept {
  if (const int error = fault::injected("pwritev2")) return -error;
  const ssize_t put = ::pwritev2(fd, parts, count, -1, kNoSignal);
  return put >= 0 ? put : -errno;
}

ssize_t write_masked(int fd, const iovec* parts, int count) noexcept {
  const BrokenPipeSignalHeld held;
  ssize_t put = -fault::injected("writev");
  if (put == 0) {
    put = ::writev(fd, parts, count);
    if (put < 0) put = -errno;
  }
  if (put == -EPIPE) held.take_away();
  return put;
}

enum class Flag { untried, works, refused };
std::atomic<Flag> flag{Flag::untried};

// Some drivers take no flags at all, whatever the kernel knows; so a refusal is judged on a pipe of our own, once.
Flag judge() noexcept {
  const auto ends = make_pipe();
  if (!ends) return Flag::untried;
  char byte = 0;
  const iovec part{&byte, 1};
  return write_with_flag(ends.value().write.get(), &part, 1) == 1 ? Flag::works : Flag::refused;
}

ssize_t write_once(int fd, const iovec* parts, int count) noexcept {
  if (flag.load(std::memory_order_relaxed) == Flag::refused) return write_masked(fd, parts, count);
  const ssize_t put = write_with_flag(fd, parts, count);
  switch (put) {
    case -EOPNOTSUPP:
    case -ENOSYS:
    case -EINVAL:
    case -EPERM:  // a seccomp filter that does not know the call
      if (flag.load(std::memory_order_relaxed) == Flag::untried) flag.store(judge(), std::memory_order_relaxed);
      return write_masked(fd, parts, count);
    default: return put;
  }
}

Target as_target(const struct stat& info) noexcept {
  return {info.st_dev, info.st_ino, false};
}

// Far beyond the bytes that programs lock for themselves.
constexpr off_t kTurnByte = 0x6d70'7072'696e'7400;

struct flock turn_byte(short type) noexcept {
  struct flock range {};
  range.l_type = type;
  range.l_whence = SEEK_SET;
  range.l_start = kTurnByte;
  range.l_len = 1;
  return range;
}

}  // namespace

Result<Target> target_of(int fd) noexcept {
  if (const int error = fault::injected("fstat")) return Failure{"fstat", error};
  struct stat info {};
  if (::fstat(fd, &info) != 0) return Failure{"fstat", errno};
  Target target = as_target(info);
  target.needs_turns = S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode) || (S_ISCHR(info.st_mode) && ::isatty(fd) == 1);
  return target;
}

Result<Target> target_of(pid_t process, int fd) noexcept {
  if (const int error = fault::injected("stat")) return Failure{"stat", error};
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/fd/%d", process, fd);
  struct stat info {};
  if (::stat(path, &info) != 0) return Failure{"stat", errno};
  return as_target(info);
}

Result<> write_quietly(int fd, std::span<const std::string_view> parts, std::size_t& written) noexcept {
  written = 0;
  std::array<iovec, kMostParts> left;
  std::size_t count = 0;
  for (const std::string_view part : parts.first(std::min(parts.size(), kMostParts))) {
    if (!part.empty()) left[count++] = {const_cast<char*>(part.data()), part.size()};
  }
  for (std::size_t first = 0; first < count;) {
    const ssize_t put = write_once(fd, &left[first], static_cast<int>(count - first));
    if (put == -EINTR) continue;
    if (put == -EAGAIN) {
      if (const auto room = wait_writable(fd, Deadline::never()); !room) return room.failure();
      continue;
    }
    if (put <= 0) return Failure{"write", put == 0 ? EIO : static_cast<int>(-put)};
    auto gone = static_cast<std::size_t>(put);
    written += gone;
    while (first < count && gone >= left[first].iov_len) gone -= left[first++].iov_len;
    if (first < count) {
      left[first].iov_base = static_cast<char*>(left[first].iov_base) + gone;
      left[first].iov_len -= gone;
    }
  }
  return {};
}

BrokenPipeSignalHeld::BrokenPipeSignalHeld() noexcept {
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &only, &before_);
  if (::sigismember(&before_, SIGPIPE) != 1) return;  // not blocked before: then none can have been pending
  sigset_t pending;
  ::sigpending(&pending);
  was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
}

BrokenPipeSignalHeld::~BrokenPipeSignalHeld() {
  const int kept = errno;
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  errno = kept;
}

void BrokenPipeSignalHeld::take_away() const noexcept {
  if (was_pending_) return;
  const int kept = errno;
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGPIPE);
  constexpr std::timespec kNoWait{};
  while (::sigtimedwait(&only, nullptr, &kNoWait) < 0 && errno == EINTR) {
  }
  errno = kept;
}

Result<> RecordLock::take(int fd) noexcept {
  struct flock range = turn_byte(F_WRLCK);
  for (;;) {
    int error = fault::injected("fcntl");
    if (error == 0) {
      if (::fcntl(fd, F_SETLKW, &range) == 0) {
        fd_ = fd;
        return {};
      }
      error = errno;
    }
    if (error == EDEADLK) {
      // A false alarm: the kernel looks for rings of waiting *processes*, but here one thread of a process waits
      // while another holds. It can't be asked to wait then, so ask again in a moment.
      ::poll(nullptr, 0, 1);
      continue;
    }
    if (error != EINTR) return Failure{"fcntl(F_SETLKW)", error};
  }
}

void RecordLock::release() noexcept {
  if (fd_ < 0) return;
  struct flock range = turn_byte(F_UNLCK);
  ::fcntl(fd_, F_SETLK, &range);
  fd_ = -1;
}

}  // namespace multiproc::os
