// SPDX-License-Identifier: MIT

#include <multiproc/os/output.hpp>

#include <cerrno>
#include <climits>
#include <cstdio>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/fault.hpp"

namespace multiproc::os {

static_assert(kWholeWrite == PIPE_BUF);

namespace {

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
