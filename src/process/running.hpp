// SPDX-License-Identifier: MIT
//
// src/process/running.hpp: a child that was started: what its Process, active_children() and the end of this process
// share. And the list of them.
#pragma once

#include <atomic>
#include <csignal>  // pid_t
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <multiproc/deadline.hpp>
#include <multiproc/exit_status.hpp>
#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/child.hpp>
#include <multiproc/os/parent_watch.hpp>

namespace multiproc::detail {

/// Something whose end can be waited for.
class Watched {
 public:
  Watched() = default;
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  virtual ~Watched() = default;

  virtual bool ended() const = 0;
  virtual bool wait(Deadline deadline) const = 0;  // true: ended
  virtual int sentinel() const = 0;
};

class Running final : public Watched {
 public:
  /// Made before the birth, so that nothing can fail after it. `lifeline` may be null.
  Running(std::unique_ptr<os::Lifeline> lifeline, std::string name, bool daemon);

  /// Takes charge of the child; `ended` when it is known to be over already. noexcept, once.
  void born(os::Child child, std::optional<ExitStatus> ended) noexcept;

  pid_t pid() const noexcept { return pid_.load(std::memory_order_acquire); }  // 0: not born
  const std::string& name() const noexcept { return name_; }
  bool daemon() const noexcept { return daemon_; }
  int sentinel() const noexcept override { return child_.sentinel(); }

  /// The parent's end of the watch of a daemon; null for others.
  os::Lifeline* lifeline() const noexcept { return lifeline_.get(); }

  /// Whether the calling process is the one that started the child.
  bool is_ours() const noexcept;

  /// The status, taken from the kernel when it is there. Does not block.
  std::optional<ExitStatus> poll() const;

  bool ended() const override { return poll().has_value(); }

  /// Waits, and takes the status. False: the deadline passed.
  bool wait(Deadline deadline) const override;

  /// Does nothing when the child has ended.
  void send(int signal) const;

 private:
  const pid_t owner_;
  const std::string name_;
  const bool daemon_;
  std::atomic<pid_t> pid_{0};
  mutable std::mutex mutex_;  // over the next two; never held while waiting
  mutable os::Child child_;
  mutable std::optional<ExitStatus> status_;
  std::unique_ptr<os::Lifeline> lifeline_;
};

/// The children of this process that have not been joined. After a fork the child's list is empty.
class Children {
 public:
  static Children& get();

  void add(std::shared_ptr<Running> child);  // before it is born: all() leaves it out until then
  void remove(const Running& child) noexcept;
  std::vector<std::shared_ptr<Running>> all();

  /// Kills `child` if it is a daemon, waits for its end, and takes it off the list. What the kernel refuses (the child
  /// runs as another user by now) is let be: there is nobody to tell.
  static void end(const Running& child) noexcept;

  /// The end of this process: kills the daemons, waits for the others. Allocates nothing: it may be the lack of memory
  /// that ends the process.
  static void end_all() noexcept;

 private:
  Children();
  void forget_those_of_parent();
  std::shared_ptr<Running> first_born() noexcept;

  static std::atomic<Children*> made_;  // null: this process has started nothing

  os::ForkMutex mutex_;
  std::atomic<pid_t> owner_;  // of list_; a forked child that has started nothing yet finds its parent's
  std::vector<std::shared_ptr<Running>> list_;
};

/// The place in the list of a child that is about to be born; given up again if it is not.
class Expected {
 public:
  explicit Expected(std::shared_ptr<Running> child) : child_(std::move(child)) { Children::get().add(child_); }
  Expected(const Expected&) = delete;
  Expected& operator=(const Expected&) = delete;
  ~Expected() {
    if (child_->pid() == 0) Children::get().remove(*child_);
  }

 private:
  std::shared_ptr<Running> child_;
};

}  // namespace multiproc::detail
