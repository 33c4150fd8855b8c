// SPDX-License-Identifier: MIT
//
// multiproc/os/output.hpp: writing all of a text to a descriptor without being killed for it, and keeping others off
// the same target meanwhile.
//
// What the kernel keeps whole by itself: a write of at most kWholeWrite bytes to a pipe (pipe(7)), and any write to a
// regular file (the inode is locked for its duration). Anything else can be interleaved with what others write, or cut
// short when the writer is killed.
//
// Death       A killed writer may leave a part of its text. Its RecordLock is released by the kernel.
#pragma once

#include <csignal>  // sigset_t, pid_t
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include <multiproc/os/result.hpp>

namespace multiproc::os {

inline constexpr std::size_t kWholeWrite = 4096;  // PIPE_BUF of Linux
inline constexpr std::size_t kMostParts = 8;      // that one write_quietly takes

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

/// Makes the writes below cheaper: they go out as bare write(2), which costs a fifth less. Where SIGPIPE is at its
/// default it gets a handler, which lets those writes pass and does for everybody else's what the default does;
/// executed programs don't inherit it. A disposition that the program chooses, before or later, stands, and the writes
/// go out as if this had not been called; but it is looked at every ten microseconds only, so that a write that soon
/// after the choice is subject to it.
void exempt_from_sigpipe() noexcept;

/// Writes `parts` one after the other, in one system call where the kernel takes them. Goes on after signals and after
/// a short write, waits while a non-blocking descriptor has no room. A reader that is gone is EPIPE and never SIGPIPE,
/// whatever the program does with that signal, before or meanwhile: the call itself asks for none (RWF_NOSIGNAL, Linux
/// 6.18); an older kernel is kept from delivering it by BrokenPipeSignalHeld. `written` receives how many bytes went
/// out, also on failure. Up to kMostParts parts. Blocks; any thread.
Result<> write_quietly(int fd, std::span<const std::string_view> parts, std::size_t& written) noexcept;

/// The same for one text.
Result<> write_quietly(int fd, std::string_view text, std::size_t& written) noexcept;

/// Holds SIGPIPE back from the calling thread while it lives; take_away() removes the one that a write of ours raised,
/// and leaves one that was pending before or that somebody sent meanwhile.
class BrokenPipeSignalHeld {
 public:
  BrokenPipeSignalHeld() noexcept;
  ~BrokenPipeSignalHeld();
  BrokenPipeSignalHeld(const BrokenPipeSignalHeld&) = delete;
  BrokenPipeSignalHeld& operator=(const BrokenPipeSignalHeld&) = delete;

  void take_away() const noexcept;

 private:
  sigset_t before_;
  bool was_pending_ = false;
};

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
