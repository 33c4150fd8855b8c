// SPDX-License-Identifier: MIT

#include <multiproc/os/fd.hpp>

#include <cerrno>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include "os/fault.hpp"

namespace multiproc::os {

[[gnu::hot]] void Fd::reset(int fd) noexcept {
  if (fd_ >= 0) {
    const int kept = errno;               // clean-up must not hide the error that led to it
    if (::close(fd_) != 0) errno = kept;  // written to only if it must be: see ForkMutex
  }
  fd_ = fd;
}

Result<Fd> Fd::duplicate() const noexcept {
  return duplicate_fd(fd_);
}

Result<Fd> duplicate_fd(int fd) noexcept {
  int error = fault::injected("fcntl");
  if (error == 0) {
    const int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy >= 0) return Fd{copy};
    error = errno == EINVAL ? EMFILE : errno;  // EINVAL: not even the number 3 is within RLIMIT_NOFILE
  }
  return Failure{"fcntl(F_DUPFD_CLOEXEC)", error};
}

Result<Fd> above_stdio(Fd fd) noexcept {
  if (fd.get() > 2 || !fd) return fd;
  return fd.duplicate();  // `fd` itself closes here: the low number stays as free as its owner left it
}

Result<Fd> take_inherited(int fd) noexcept {
  if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return Failure{"fcntl(F_SETFD)", errno};
  return Fd{fd};
}

Result<std::size_t> read_some(int fd, std::span<std::byte> into) noexcept {
  for (;;) {
    int error = fault::injected("read");
    if (error == 0) {
      const ssize_t got = ::read(fd, into.data(), into.size());
      if (got >= 0) return static_cast<std::size_t>(got);
      error = errno;
    }
    if (error != EINTR) return Failure{"read", error};
  }
}

Result<> write_all(int fd, std::span<const std::byte> bytes, std::size_t* written) noexcept {
  std::size_t done = 0;
  if (written != nullptr) *written = 0;
  while (done < bytes.size()) {
    int error = fault::injected("write");
    if (error == 0) {
      const ssize_t put = ::write(fd, bytes.data() + done, bytes.size() - done);
      if (put >= 0) {
        done += static_cast<std::size_t>(put);
        if (written != nullptr) *written = done;
        continue;
      }
      error = errno;
    }
    if (error == EAGAIN) {  // somebody made this descriptor non-blocking; ours is the call that blocks
      pollfd room{fd, POLLOUT, 0};
      ::poll(&room, 1, -1);
      continue;
    }
    if (error != EINTR) return Failure{"write", error};
  }
  return {};
}

}  // namespace multiproc::os
