// SPDX-License-Identifier: MIT

#include <multiproc/process/this_process.hpp>

#include <atomic>
#include <cerrno>

#include <multiproc/error.hpp>
#include <multiproc/os/poll.hpp>
#include <multiproc/os/self.hpp>

#include "process/children.hpp"
#include "process/identity.hpp"
#include "process/running.hpp"

namespace multiproc {

namespace {

constinit std::atomic<detail::Identity*> self{nullptr};

// Where a forked child notes its own instead: beside what the fork itself writes to, so that this costs no copy of a
// page. `noted_at` is the slot of the main thread, which lasts as long as the process.
[[gnu::tls_model("initial-exec")]] constinit thread_local detail::Identity* noted = nullptr;
constinit std::atomic<detail::Identity**> noted_at{nullptr};
[[maybe_unused]] const bool is_noted_by_main_thread = [] {
  if (os::on_main_thread()) noted_at.store(&noted);
  return true;
}();

// The parent, seen from its child: a pidfd, opened when asked for. That it is the parent's and not that of a stranger
// who got the pid later is sure when getppid() still names it afterwards.
class Parent final : public detail::Watched {
 public:
  explicit Parent(pid_t pid) : pid_(pid) {
    os::Result<os::Fd> opened = os::open_pidfd(pid);
    if (!opened) refusal_ = opened.failure();
    if (os::parent_pid() != pid) {
      refusal_ = {"pidfd_open", ESRCH};
    } else if (opened) {
      pidfd_ = std::move(opened.value());
    }
  }

  bool ended() const override { return wait(Deadline::now()); }

  bool wait(Deadline deadline) const override {
    if (pidfd_) return os::wait_readable(pidfd_.get(), deadline).or_throw("the parent process");
    for (;;) {  // it is gone, or the kernel gives out no pidfds: then getppid() tells, now and then
      if (os::parent_pid() != pid_) return true;
      if (deadline.passed()) return false;
      (void)os::wait_readable(-1, Deadline::earlier(deadline, os::kLookInterval));
    }
  }

  int sentinel() const override {
    if (!pidfd_) os::throw_failure(refusal_, "the parent process", refusal_.error == ESRCH ? "It has ended" : "");
    return pidfd_.get();
  }

 private:
  pid_t pid_;
  os::Fd pidfd_;
  os::Failure refusal_{"pidfd_open", ESRCH};  // where there is no pidfd_
};

}  // namespace

detail::Identity& detail::identity() noexcept {
  if (Identity** const at = noted_at.load(std::memory_order_acquire); at != nullptr && *at != nullptr) return **at;
  Identity* mine = self.load(std::memory_order_acquire);
  if (mine != nullptr) return *mine;
  auto* fresh = new Identity;
  if (self.compare_exchange_strong(mine, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *mine;
}

[[gnu::hot]] bool detail::is_noted_here() noexcept {
  return noted_at.load(std::memory_order_relaxed) == &noted;
}

[[gnu::hot]] void detail::become(Identity* mine) noexcept {
  if (is_noted_here()) {
    noted = mine;
  } else {
    self.store(mine, std::memory_order_release);
    noted_at.store(nullptr, std::memory_order_release);  // the main thread is not here
  }
}

std::string detail::Identity::child_path(unsigned number) const {
  return path.empty() ? std::to_string(number) : path + ":" + std::to_string(number);
}

bool ProcessInfo::is_alive() const {
  return !watched_ || !watched_->ended();
}

bool ProcessInfo::join(Deadline deadline) const {
  if (!watched_) throw InvalidState("process '" + name_ + "' can't wait for its own end");
  return watched_->wait(deadline);
}

int ProcessInfo::sentinel() const {
  if (!watched_) throw InvalidState("process '" + name_ + "' can't wait for its own end");
  return watched_->sentinel();
}

ProcessInfo current_process() {
  return {os::self_pid(), detail::identity().name, nullptr};
}

std::optional<ProcessInfo> parent_process() {
  const detail::Identity& mine = detail::identity();
  if (mine.parent == 0) return std::nullopt;
  return ProcessInfo(mine.parent, mine.parent_name, std::make_shared<Parent>(mine.parent));
}

std::vector<ProcessInfo> active_children() {
  std::vector<ProcessInfo> alive;
  for (const auto& child : detail::Children::all()) {
    if (!child->ended()) alive.emplace_back(child->pid(), child->name(), child);
  }
  return alive;
}

unsigned cpu_count() {
  return os::usable_cpus();
}

}  // namespace multiproc
