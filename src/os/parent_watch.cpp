// SPDX-License-Identifier: MIT

#include <multiproc/os/parent_watch.hpp>

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <multiproc/os/self.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

Result<ParentWatch> Lifeline::open() noexcept {
  write_.reset();  // opened once more: the first watch ends
  // A child that is forked between the making of the pipe and its listing would hold the pipe for good.
  const NoForkNow now;
  if (!now.ready()) return now.ready().failure();
  Result<PipeEnds> ends = make_pipe();
  if (!ends) return ends.failure();
  read_ = std::move(ends.value().read);
  now.keep(write_, std::move(ends.value().write));
  return ParentWatch{::getpid(), read_.get(), on_main_thread()};
}

Result<> watch_parent(const ParentWatch& watch) noexcept {
  if (watch.parent == 0) return {};
  bool orphaned = false;
  if (watch.lifeline < 0 || watch.by_main_thread) {
    if (const int error = fault::injected("prctl")) return Failure{"prctl(PR_SET_PDEATHSIG)", error};
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return Failure{"prctl(PR_SET_PDEATHSIG)", errno};
  }
  if (watch.lifeline >= 0) {
    const int fd = watch.lifeline;
    if (::fcntl(fd, F_SETOWN, ::getpid()) != 0) return Failure{"fcntl(F_SETOWN)", errno};
    if (::fcntl(fd, F_SETSIG, SIGKILL) != 0) return Failure{"fcntl(F_SETSIG)", errno};
    if (::fcntl(fd, F_SETFL, O_ASYNC | O_NONBLOCK) != 0) return Failure{"fcntl(O_ASYNC)", errno};
    pollfd end{fd, POLLIN, 0};
    orphaned = ::poll(&end, 1, 0) > 0;
  }
  // Did it die before we looked? 0 is a parent in another pid namespace, of which nothing can be said.
  const pid_t parent = ::getppid();
  if (orphaned || (parent != watch.parent && parent != 0)) {
    ::kill(::getpid(), SIGKILL);
    ::_exit(128 + SIGKILL);
  }
  return {};
}

}  // namespace multiproc::os
