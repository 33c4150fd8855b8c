// SPDX-License-Identifier: MIT
//
// multiproc/os/unforked_fd.hpp: descriptors that forked children of this process do not keep.
//
// Close-on-exec holds against exec alone: a child that another thread forks meanwhile, through this library or not, has
// a copy of every descriptor for as long as it lives, and whoever waits for the end of a stream waits for that child
// too. An UnforkedFd is closed in the child before fork() returns there, and there is no moment between the making of
// the descriptor and that promise. posix_spawn and vfork run no fork handlers: through them it may still be inherited.
//
// What a forked child keeps are copies of all other descriptors, harmless to those who hold the other end: the pidfds
// of its siblings, the memory of print().
//
// Death: nothing is left behind. Limits: a raw clone() runs no fork handlers and keeps its copies. Where no UnforkedFd
// was ever made, a fork does nothing for them; later, it reads one pointer in the child.
#pragma once

#include <array>
#include <cstddef>
#include <utility>

#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/fd.hpp>

namespace multiproc::os {

/// One such descriptor. Stays where it is, in memory that forks copy (no MADV_DONTFORK): the child's copy is emptied
/// there. Used by one thread at a time, as an Fd is.
class UnforkedFd {
 public:
  UnforkedFd() noexcept = default;
  UnforkedFd(const UnforkedFd&) = delete;
  UnforkedFd& operator=(const UnforkedFd&) = delete;
  ~UnforkedFd() { reset(); }

  int get() const noexcept { return fd_.get(); }
  explicit operator bool() const noexcept { return bool(fd_); }

  /// Closes it, if it is open.
  void reset() noexcept;

 private:
  friend class NoForkNow;
  friend struct UnforkedList;
  Fd fd_;
  UnforkedFd* next_ = nullptr;
};

/// While it lives no other thread forks; the calling one must not. For make_unforked().
class NoForkNow {
 public:
  NoForkNow() noexcept;

  /// Whether children can be told at all; if not, keep() is not to be called.
  const Result<>& ready() const noexcept { return ready_; }

  /// Takes over `made`. `into` must be empty.
  void keep(UnforkedFd& into, Fd made) const noexcept;

 private:
  ForkLock lock_;
  Result<> ready_;
};

/// Fills `into` with what `make` makes, a Result<std::array<Fd, Count>>: `make_unforked(ends, make_socket_pair)`.
/// `make` must not fork.
template <std::size_t Count, class Make>
Result<> make_unforked(std::array<UnforkedFd, Count>& into, Make make) noexcept {
  for (UnforkedFd& fd : into) fd.reset();
  const NoForkNow now;
  if (!now.ready()) return now.ready();
  Result<std::array<Fd, Count>> made = make();
  if (!made) return made.failure();
  for (std::size_t i = 0; i < Count; ++i) now.keep(into[i], std::move(made.value()[i]));
  return {};
}

}  // namespace multiproc::os
