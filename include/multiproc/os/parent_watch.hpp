// SPDX-License-Identifier: MIT
//
// multiproc/os/parent_watch.hpp: a child that is killed by the kernel when its parent process ends, however it ends.
//
// A Lifeline is a pipe whose only write end is the parent's; the child asks the kernel to send it SIGKILL when that end
// closes (fcntl(2), F_SETSIG). No thread and no polling on either side, and no way out by blocked signals, SIGSTOP or
// another user. Forked children of the parent close their copies. It does not outlast an exec in the child, nor a child
// that closes every descriptor it has. PR_SET_PDEATHSIG outlasts those, but no change of user, and it follows the
// *thread* that made the child: it serves beside the Lifeline when that is the main thread.
//
// Limits: a main thread that leaves by pthread_exit while others go on counts as the parent's end; a raw clone() of the
// parent holds its Lifelines.
#pragma once

#include <csignal>  // pid_t

#include <multiproc/os/pipe.hpp>
#include <multiproc/os/unforked_fd.hpp>

namespace multiproc::os {

/// What the child needs to know; handed over as it is by fork, in the environment by spawn.
struct ParentWatch {
  pid_t parent = 0;             // 0: do not watch
  int lifeline = -1;            // the read end; -1: PR_SET_PDEATHSIG alone
  bool by_main_thread = false;  // PR_SET_PDEATHSIG too
};

/// The parent's end of a watch; children forked while it lives do not hold it. Lives as long as the child is to.
class Lifeline {
 public:
  Lifeline() noexcept = default;
  Lifeline(const Lifeline&) = delete;
  Lifeline& operator=(const Lifeline&) = delete;

  /// Makes a watch of this process for a child that the calling thread is about to start.
  Result<ParentWatch> open() noexcept;

  /// The read end, to be closed in the parent once the child has it.
  Fd& child_end() noexcept { return read_; }

 private:
  Fd read_;
  UnforkedFd write_;
};

/// Puts the calling process under `watch`; if the parent is gone already, ends it at once. Async-signal-safe.
Result<> watch_parent(const ParentWatch& watch) noexcept;

}  // namespace multiproc::os
