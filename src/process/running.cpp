// SPDX-License-Identifier: MIT

#include "process/running.hpp"

#include <cerrno>
#include <csignal>
#include <mutex>
#include <utility>

#include <multiproc/error.hpp>
#include <multiproc/os/poll.hpp>
#include <multiproc/os/self.hpp>

#include "process/children.hpp"

namespace multiproc::detail {

Running::Running(std::string name, bool daemon)
    : owner_(this_pid()), name_(std::move(name)), daemon_(daemon), record_(Children::enter(*this)) {}

Running::~Running() {
  if (is_ours()) Children::leave(record_);
}

void Running::born(os::Child child, std::optional<ExitStatus> ended) noexcept {
  record_.child = std::move(child);
  record_.status = ended;
  record_.pid.store(record_.child.pid(), std::memory_order_release);
}

pid_t Running::pid() const noexcept {
  return record_.pid.load(std::memory_order_acquire);
}

int Running::sentinel() const {
  if (!is_ours()) {
    throw InvalidState("process '" + name_ + "' belongs to the process that started it, of which this is a copy");
  }
  const std::lock_guard lock(record_.mutex);
  if (const auto settled = record_.child.settle(); !settled) {
    os::throw_failure(settled.failure(), "the sentinel of process '" + name_ + "'");
  }
  if (record_.child.sentinel() < 0) os::throw_failure({"eventfd", EMFILE}, "the sentinel of process '" + name_ + "'");
  return record_.child.sentinel();
}

bool Running::is_ours() const noexcept {
  return owner_ == this_pid() && record_.running == this;  // and not a namesake of a forebear that is gone
}

template <class T>
T Running::taken(const os::Result<T>& result) const {
  if (!result) os::throw_failure(result.failure(), "process '" + name_ + "'");
  return result.value();
}

std::optional<ExitStatus> Running::poll() const {
  const std::lock_guard lock(record_.mutex);
  if (!record_.status) {
    if (!record_.child.is_newborn()) (void)record_.child.settle();  // refused: the pid will do, but for thieves
    record_.status = taken(record_.child.reap());
  }
  return record_.status;
}

bool Running::ended() const {
  return !is_ours() || poll().has_value();
}

bool Running::wait(Deadline deadline) const {
  if (!is_ours()) return true;
  if (deadline.is_never() && os::is_single_threaded()) {  // nobody to ask and signal meanwhile
    if (!record_.status) record_.status = taken(record_.child.wait_and_reap());
    return true;
  }
  for (;;) {
    bool is_settled = false;
    {
      const std::lock_guard lock(record_.mutex);
      if (record_.status) return true;
      is_settled = record_.child.settle().ok();
      if (!is_settled) record_.status = taken(record_.child.reap());
      if (record_.status) return true;
    }
    // Without the lock: others may ask and signal meanwhile. A settled child stays as it is until this object goes; one
    // that is not, for lack of a descriptor, is looked at now and then.
    if (is_settled) {
      if (!taken(record_.child.wait(deadline))) return false;
      if (poll()) return true;
    } else {
      if (deadline.passed()) return false;
      (void)os::poll_all({}, Deadline::earlier(deadline, os::kLookInterval));
    }
  }
}

void Running::send(int signal) const {
  const std::lock_guard lock(record_.mutex);  // a status taken meanwhile would free the pid for a stranger
  if (record_.status) return;
  (void)record_.child.settle();
  const auto sent = record_.child.send(signal);
  if (!sent) os::throw_failure(sent.failure(), "process '" + name_ + "', signal " + std::to_string(signal));
}

// The end of its lifeline reaches a daemon that this process may not signal: the kernel asks what its user was when it
// asked for that signal.
void Running::kill() const noexcept {
  const std::lock_guard lock(record_.mutex);
  if (record_.status) return;
  (void)record_.child.settle();
  if (!record_.child.send(SIGKILL)) lifeline_.reset();
}

}  // namespace multiproc::detail
