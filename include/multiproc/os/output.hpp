// SPDX-License-Identifier: MIT
//
// multiproc/os/output.hpp: where a descriptor leads, and keeping other processes off the same target while a text goes
// out in pieces. Any thread may call.
//
// What the kernel keeps whole by itself: a write of at most kWholeWrite bytes to a pipe (pipe(7)), and any write to a
// regular file (the inode is locked for its duration). Anything else can be interleaved with what others write, or cut
// short when the writer is killed.
//
// Death       A killed writer may leave a part of its text. Its RecordLock is released by the kernel.
#pragma once

#include <csignal>  // pid_t
#include <cstddef>
#include <cstdint>

#include <multiproc/os/result.hpp>

namespace multiproc::os {

inline constexpr std::size_t kWholeWrite = 4096;  // PIPE_BUF of Linux

/// Where a descriptor leads: two descriptors with the same device and inode write to the same place.
struct Target {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  bool needs_turns = false;  // a pipe, socket or terminal: long writes of several writers must be kept apart

  bool same_as(const Target& other) const noexcept { return device == other.device && inode == other.inode; }
};

/// EBADF: not an open descriptor.
Result<Target> target_of(int fd) noexcept;

/// The same for a descriptor of another process, through /proc; needs_turns is not filled in. EACCES, ENOENT: can't
/// say.
Result<Target> target_of(pid_t process, int fd) noexcept;

/// A turn among processes at the target of a descriptor: a POSIX record lock (fcntl(2)) on one far-off byte. It is
/// known by the inode, so every process that has the target open competes for it, and the kernel releases it when
/// its owner dies. It does not tell the threads of one process apart, and a close() of *any* descriptor of this target
/// by the same process drops it early.
class RecordLock {
 public:
  RecordLock() noexcept = default;
  ~RecordLock() { release(); }
  RecordLock(const RecordLock&) = delete;
  RecordLock& operator=(const RecordLock&) = delete;

  /// Waits for the turn. A failure (EBADF: not open for writing; ENOLCK, EINVAL: no locks there) leaves us without.
  Result<> take(int fd) noexcept;
  void release() noexcept;

 private:
  int fd_ = -1;
};

}  // namespace multiproc::os
