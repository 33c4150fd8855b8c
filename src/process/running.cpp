// SPDX-License-Identifier: MIT

#include "process/running.hpp"

#include <algorithm>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <utility>

#include <multiproc/os/self.hpp>

namespace multiproc::detail {

namespace {

void kill_quietly(const Running& child) noexcept {
  try {
    child.send(SIGKILL);
  } catch (...) {
  }
}

}  // namespace

Running::Running(std::unique_ptr<os::Lifeline> lifeline, std::string name, bool daemon)
    : owner_(os::self_pid()), name_(std::move(name)), daemon_(daemon), lifeline_(std::move(lifeline)) {}

void Running::born(os::Child child, std::optional<ExitStatus> ended) noexcept {
  child_ = std::move(child);
  status_ = ended;
  pid_.store(child_.pid(), std::memory_order_release);
}

bool Running::is_ours() const noexcept {
  return owner_ == os::self_pid();
}

std::optional<ExitStatus> Running::poll() const {
  const std::lock_guard lock(mutex_);
  if (!status_) status_ = child_.reap().or_throw("process '" + name_ + "'");
  return status_;
}

bool Running::wait(Deadline deadline) const {
  for (;;) {
    {
      const std::lock_guard lock(mutex_);
      if (status_) return true;
    }
    // Without the lock: others may ask and signal meanwhile. The child's descriptor stays until this object goes.
    if (!child_.wait(deadline).or_throw("process '" + name_ + "'")) return false;
    if (poll()) return true;
  }
}

void Running::send(int signal) const {
  const std::lock_guard lock(mutex_);  // a status taken meanwhile would free the pid for a stranger
  if (status_) return;
  child_.send(signal).or_throw("process '" + name_ + "', signal " + std::to_string(signal));
}

constinit std::atomic<Children*> Children::made_{nullptr};

[[gnu::hot]] Children& Children::get() {
  static auto* const children = new Children;  // never destroyed: static Process objects may outlive it
  return *children;
}

Children::Children() : owner_(os::self_pid()) {
  std::atexit([] { end_all(); });
  made_.store(this, std::memory_order_release);
}

void Children::forget_those_of_parent() {
  const pid_t self = os::self_pid();
  if (owner_ == self) return;
  owner_ = self;
  list_.clear();
}

void Children::add(std::shared_ptr<Running> child) {
  const std::lock_guard lock(mutex_);
  forget_those_of_parent();
  list_.push_back(std::move(child));
}

void Children::remove(const Running& child) noexcept {
  std::shared_ptr<Running> last;  // its destructor runs without the lock
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::find(list_, &child, &std::shared_ptr<Running>::get);
  if (at == list_.end()) return;
  last = std::move(*at);
  list_.erase(at);
}

std::vector<std::shared_ptr<Running>> Children::all() {
  const std::lock_guard lock(mutex_);
  forget_those_of_parent();
  std::vector<std::shared_ptr<Running>> born;
  std::ranges::copy_if(list_, std::back_inserter(born), [](const auto& child) { return child->pid() != 0; });
  return born;
}

std::shared_ptr<Running> Children::first_born() noexcept {
  const std::lock_guard lock(mutex_);
  const auto at = std::ranges::find_if(list_, [](const auto& child) { return child->pid() != 0; });
  return at != list_.end() ? *at : nullptr;
}

[[gnu::hot]] void Children::end_all() noexcept {
  Children* const mine = made_.load(std::memory_order_acquire);
  if (mine == nullptr || mine->owner_ != os::self_pid()) return;  // none of ours; and nothing written, see ForkMutex
  std::size_t count = 0;
  {
    const std::lock_guard lock(mine->mutex_);
    count = mine->list_.size();  // not those that other threads go on to start
    for (const auto& child : mine->list_) {
      if (child->daemon() && child->pid() != 0) kill_quietly(*child);
    }
  }
  for (; count > 0; --count) {
    const std::shared_ptr<Running> child = mine->first_born();
    if (!child) return;
    end(*child);
  }
}

void Children::end(const Running& child) noexcept {
  if (child.daemon()) kill_quietly(child);
  try {
    child.wait(Deadline::never());
  } catch (...) {
  }
  get().remove(child);
}

}  // namespace multiproc::detail
