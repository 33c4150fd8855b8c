// SPDX-License-Identifier: MIT

#include <multiproc/os/parent_watch.hpp>

#include <cerrno>
#include <mutex>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/self.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

// The open Lifelines of this process, so that a forked child can close its copies: one forgotten write end, and the
// end of the parent would go unseen.
struct LifelineList {
  ForkMutex mutex;
  Lifeline* first = nullptr;
  bool is_registered = false;

  static LifelineList& get() noexcept;

  [[gnu::hot]] void close_in_child() noexcept {
    for (Lifeline* line = first; line != nullptr; line = line->next_) {
      line->write_.reset();
      line->listed_ = false;
    }
    first = nullptr;
  }

  // Under the lock that every fork takes: a child that is forked between the making of a pipe and its listing, or
  // between the end of the listing and the close, would hold the pipe for good.
  Result<> add(Lifeline& line) {
    const std::lock_guard lock(mutex);
    if (!is_registered) {
      if (const auto done = at_fork(nullptr, nullptr, [] { get().close_in_child(); }); !done) return done;
      is_registered = true;
    }
    Result<PipeEnds> ends = make_pipe();
    if (!ends) return ends.failure();
    line.read_ = std::move(ends.value().read);
    line.write_ = std::move(ends.value().write);
    line.next_ = first;
    line.listed_ = true;
    first = &line;
    return {};
  }

  void remove(Lifeline& line) noexcept {
    const std::lock_guard lock(mutex);
    for (Lifeline** at = &first; *at != nullptr; at = &(*at)->next_) {
      if (*at != &line) continue;
      *at = line.next_;
      break;
    }
    line.listed_ = false;
    line.write_.reset();
  }
};

// Made when the program is loaded: a thread may fork while another uses it for the first time. In no need of
// destruction: children are reaped by exit handlers too.
static constinit LifelineList lifelines;
[[maybe_unused]] static const bool is_enlisted = lifelines.mutex.enlist();

LifelineList& LifelineList::get() noexcept {
  return lifelines;
}

Lifeline::~Lifeline() {
  if (listed_) LifelineList::get().remove(*this);
}

Result<ParentWatch> Lifeline::open() noexcept {
  const pid_t self = ::getpid();
  if (listed_) LifelineList::get().remove(*this);  // opened once more: the first watch ends
  if (const auto added = LifelineList::get().add(*this); !added) return added.failure();
  return ParentWatch{self, read_.get(), on_main_thread()};
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
