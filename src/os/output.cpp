// SPDX-License-Identifier: MIT

#include <multiproc/os/output.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
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

#include <multiproc/os/poll.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

static_assert(kWholeWrite == PIPE_BUF);

namespace {

// Set while this thread is in a write whose SIGPIPE nobody shall notice. Initial-exec: the handler may not allocate.
[[gnu::tls_model("initial-exec")]] constinit thread_local volatile std::sig_atomic_t writes_line = 0;

std::atomic<std::uint64_t> looked_at{0};

// A clock that costs a few nanoseconds and need only be right about microseconds.
std::uint64_t rough_ticks() noexcept {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

void on_broken_pipe(int) noexcept {
  if (writes_line != 0) return;  // the write answers EPIPE
  const int kept = errno;
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &standard, nullptr);
  ::raise(SIGPIPE);  // comes as this handler returns
  errno = kept;
}

constexpr std::uint64_t kTrustTicks = 30'000;  // 10 to 30 microseconds

// Whether a SIGPIPE that a write raises now does nothing. RWF_NOSIGNAL would say so by the call, but is new (Linux
// 6.18), and pwritev2 costs a quarter more than write.
bool is_sigpipe_harmless() noexcept {
  const std::uint64_t now = rough_ticks();
  if (now - looked_at.load(std::memory_order_relaxed) < kTrustTicks) return true;
  if (fault::injected("sigaction") != 0) return false;
  struct sigaction current {};
  if (::sigaction(SIGPIPE, nullptr, &current) != 0) return false;
  const bool has_handler = (current.sa_flags & SA_SIGINFO) != 0;
  if (!has_handler && current.sa_handler == SIG_DFL) {
    struct sigaction ours {};
    ours.sa_handler = on_broken_pipe;
    ours.sa_flags = SA_RESTART;
    if (::sigaction(SIGPIPE, &ours, nullptr) != 0) return false;
  } else if (has_handler || (current.sa_handler != SIG_IGN && current.sa_handler != on_broken_pipe)) {
    return false;
  }
  looked_at.store(now, std::memory_order_relaxed);
  return true;
}

void take_pending_sigpipe() noexcept {
  const int kept = errno;
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGPIPE);
  constexpr std::timespec kNoWait{};
  while (::sigtimedwait(&only, nullptr, &kNoWait) < 0 && errno == EINTR) {
  }
  errno = kept;
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
  const BrokenPipeSignalHeld held;
  written = 0;
  std::array<iovec, kMostParts> left;
  std::size_t count = 0;
  for (const std::string_view part : parts.first(std::min(parts.size(), kMostParts))) {
    if (!part.empty()) left[count++] = {const_cast<char*>(part.data()), part.size()};
  }
  for (std::size_t first = 0; first < count;) {
    int error = fault::injected("writev");
    if (error == 0) {
      const ssize_t put = ::writev(fd, &left[first], static_cast<int>(count - first));
      if (put > 0) {
        auto gone = static_cast<std::size_t>(put);
        written += gone;
        while (first < count && gone >= left[first].iov_len) gone -= left[first++].iov_len;
        if (first < count) {
          left[first].iov_base = static_cast<char*>(left[first].iov_base) + gone;
          left[first].iov_len -= gone;
        }
        continue;
      }
      error = put == 0 ? EIO : errno;
    }
    if (error == EAGAIN) {  // somebody made this descriptor non-blocking; ours is the call that blocks
      if (const auto room = wait_writable(fd, Deadline::never()); !room) return room.failure();
    } else if (error != EINTR) {
      if (error == EPIPE) held.take_away();
      return Failure{"write", error};
    }
  }
  return {};
}

Result<> write_line(int fd, std::string_view line, std::size_t& written) noexcept {
  written = 0;
  if (line.empty()) return {};
  if (is_sigpipe_harmless()) {
    int error = fault::injected("write");
    if (error == 0) {
      writes_line = 1;
      const ssize_t put = ::write(fd, line.data(), line.size());
      writes_line = 0;
      if (put >= 0) written = static_cast<std::size_t>(put);
      if (written == line.size()) return {};
      if (put < 0) error = errno;
    }
    if (error == EPIPE) take_pending_sigpipe();  // this thread blocks it, so it would come later
    if (error != 0 && error != EAGAIN && error != EINTR) return Failure{"write", error};
  }
  const std::size_t before = written;
  const std::string_view rest = line.substr(before);
  auto result = write_quietly(fd, {&rest, 1}, written);
  written += before;
  return result;
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
  if (!was_pending_) take_pending_sigpipe();
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
