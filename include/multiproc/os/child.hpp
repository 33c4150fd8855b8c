// SPDX-License-Identifier: MIT
//
// multiproc/os/child.hpp: a child process as one thing: its pid and its pidfd.
//
// Waiting, signalling and liveness go through the pidfd (pidfd_open(2)): no SIGCHLD handler, no waitpid(-1), and no
// signal for a stranger that got the pid later. Where the kernel refuses pidfds (before 5.3, and EPERM or ENOSYS from
// the seccomp filter of a container) the pid serves, which nobody else can get while we have not reaped it; the end is
// then seen by the close of a pipe that the child holds.
//
// A pidfd costs its opening and closing, some four hundredths of a start and join. A newborn child may do without: its
// pid can't be anybody else's within ten milliseconds, in which no kernel comes round to the same number again. Whoever
// comes later, or asks for anything but its end, calls settle() first. That looks whether the pid is still the child's:
// the kernel says whether it is a child of ours, and /proc when it was born.
//
// The status may be gone when we come for it: the program ignores SIGCHLD, or another thread reaped it. Then the
// child has ended with ExitStatus::unknown(), which is no failure.
#pragma once

#include <chrono>
#include <csignal>  // pid_t
#include <cstdint>
#include <optional>

#include <multiproc/deadline.hpp>
#include <multiproc/exit_status.hpp>
#include <multiproc/os/fd.hpp>

namespace multiproc::os {

/// How often a process is looked at where nothing tells its end: the kernel has no pidfds, or no descriptor is left.
inline constexpr std::chrono::milliseconds kLookInterval{20};

/// wait() and sentinel() may be called while another thread calls any of the others but settle(); these want a lock.
class Child {
 public:
  Child() noexcept = default;

  pid_t pid() const noexcept { return pid_; }

  /// A descriptor that is readable once the child has ended; -1 if it had ended before it was adopted, and none was
  /// left.
  int sentinel() const noexcept { return end_.get(); }

  /// Opens the pidfd of a newborn child, and finds out if it has ended meanwhile and its pid is a stranger's. Fails as
  /// pidfd_open does (EMFILE), and can be called again. Nothing to do for others.
  Result<> settle() noexcept;

  /// Not settled yet, and so young that its pid is surely its own: reap() and wait_and_reap() will do.
  bool is_newborn() const noexcept;

  /// Waits until reap() will answer, without taking the status. False: the deadline passed. A child that a debugger
  /// holds on to after its end has not ended.
  Result<bool> wait(Deadline deadline) const noexcept;

  /// Takes the status, once, if the child has ended; nullopt while it lives. Does not block.
  Result<std::optional<ExitStatus>> reap() noexcept;

  /// The same, but waits for the end.
  Result<std::optional<ExitStatus>> wait_and_reap() noexcept;

  /// Sends `signal`. A child that has ended is no failure. EINVAL: no such signal. EPERM: it runs as another user.
  Result<> send(int signal) const noexcept;

  /// Kills and reaps, whatever it takes; for launches that fail half-way.
  void destroy() noexcept;

  /// Takes charge of `pid`, just born to this process; kills it when that fails. `end` is the read end of the child's
  /// pipe, for kernels without pidfds.
  static Result<Child> adopt(pid_t pid, Fd end) noexcept;

  /// The same for a child that has only just been born, where the kernel has pidfds: costs nothing, and needs settle().
  /// `before`: boot_time() before the fork.
  static Child newborn(pid_t pid, std::int64_t before) noexcept;

 private:
  void has_gone() noexcept;
  Result<bool> look(int options) const noexcept;
  Result<std::optional<ExitStatus>> take_status(int options, bool repeats) noexcept;

  pid_t pid_ = 0;
  Fd end_;
  bool by_pidfd_ = false;
  bool end_tells_ = false;  // end_ is readable exactly when the child has ended; false for the pipe
  bool is_settled_ = true;
  std::int64_t forked_ = 0;  // of a newborn: boot_time() before the fork, and after it
  std::int64_t born_ = 0;
  bool gone_ = false;  // ended, and the status was taken, by reap() or by somebody else
};

/// Nanoseconds of CLOCK_BOOTTIME.
std::int64_t boot_time() noexcept;

/// Whether this kernel gives out pidfds; asked once.
bool has_pidfd() noexcept;

/// A pidfd of any process. ESRCH: there is none with this pid.
Result<Fd> open_pidfd(pid_t pid) noexcept;

}  // namespace multiproc::os
