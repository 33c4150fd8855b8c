// SPDX-License-Identifier: MIT
//
// multiproc/os/fd.hpp: one owned file descriptor, and the plain reads and writes on it.
//
// Every descriptor of this library is close-on-exec from birth and never one of 0, 1 and 2: a program that closed its
// standard streams must not find its output in one of our pipes. What makes descriptors goes through above_stdio().
//
// Limit: no call of the kernel that makes a descriptor takes a lowest number. In a process that runs with 0, 1 or 2
// closed a new one stands there until above_stdio() has moved it, some microseconds, and what another thread writes to
// that stream at this very moment goes into it. Let such a program open /dev/null there before it starts a thread.
//
// Forked children have copies of all of them: see unforked_fd.hpp.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include <multiproc/os/result.hpp>

namespace multiproc::os {

class Fd {
 public:
  Fd() noexcept = default;
  explicit Fd(int fd) noexcept : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) reset();
  }

  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }

  int release() noexcept { return std::exchange(fd_, -1); }
  void reset(int fd = -1) noexcept;  // close(2) is never retried: on Linux the number is free even after EINTR

  /// Another descriptor for the same open file: close-on-exec, above 2.
  Result<Fd> duplicate() const noexcept;

 private:
  int fd_ = -1;
};

/// Fd::duplicate() for a descriptor that somebody else owns.
Result<Fd> duplicate_fd(int fd) noexcept;

/// The same open file under a number above 2, still close-on-exec; `fd` itself when it already is.
Result<Fd> above_stdio(Fd fd) noexcept;

/// Takes over a descriptor that exec passed on by its number, and makes it close-on-exec. EBADF: it is not open.
Result<Fd> take_inherited(int fd) noexcept;

/// One read(2), gone on with after a signal. 0 bytes: end of file.
Result<std::size_t> read_some(int fd, std::span<std::byte> into) noexcept;

/// Writes all of `bytes`, waiting where the descriptor does not block. `written`, if given, receives how many bytes
/// went out before a failure. May raise SIGPIPE, as write(2) does.
Result<> write_all(int fd, std::span<const std::byte> bytes, std::size_t* written = nullptr) noexcept;

}  // namespace multiproc::os
