// SPDX-License-Identifier: MIT
//
// src/process/running.hpp: a child that is being started, or was: what its Process, active_children() and the end of
// this process share. And the list of them.
//
// What changes after the fork stands in a Record, in memory that forks leave out: a parent that writes to a page after
// a fork pays for a copy of it, and in the child there would be nothing to do with it but mistakes. Only the process
// that made a Running may ask it anything; elsewhere it is a shell that can be destroyed.
#pragma once

#include <atomic>
#include <csignal>  // pid_t
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <multiproc/deadline.hpp>
#include <multiproc/exit_status.hpp>
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

/// os::self_pid() without a system call: from the list of children, which a fork leaves out.
pid_t this_pid() noexcept;

struct Record;

class Running final : public Watched, public std::enable_shared_from_this<Running> {
 public:
  /// Made before the birth, so that nothing can fail after it, and put on the list, where nobody sees it until then.
  /// Throws SystemError: no memory.
  Running(std::string name, bool daemon);
  ~Running() override;

  /// Before the birth: the parent's end of the watch of a daemon, which it keeps.
  void watch_by(std::unique_ptr<os::Lifeline> lifeline) noexcept { lifeline_ = std::move(lifeline); }
  os::Lifeline* lifeline() const noexcept { return lifeline_.get(); }

  /// Takes charge of the child; `ended` when it is known to be over already. noexcept, once.
  void born(os::Child child, std::optional<ExitStatus> ended) noexcept;

  pid_t pid() const noexcept;  // 0: not born
  const std::string& name() const noexcept { return name_; }
  bool daemon() const noexcept { return daemon_; }
  int sentinel() const override;

  /// Whether the calling process is the one that started the child. If not, pid(), born(), send() and poll() are not
  /// to be called; the others take it for a child that has ended.
  bool is_ours() const noexcept;

  /// The status, taken from the kernel when it is there. Does not block.
  std::optional<ExitStatus> poll() const;

  bool ended() const override;

  /// Waits, and takes the status. False: the deadline passed.
  bool wait(Deadline deadline) const override;

  /// Does nothing when the child has ended.
  void send(int signal) const;

  /// The end of a daemon, as its parent's would be.
  void kill() const noexcept;

 private:
  friend class Children;
  template <class T>
  T taken(const os::Result<T>& result) const;

  const pid_t owner_;
  const std::string name_;
  const bool daemon_;
  mutable std::unique_ptr<os::Lifeline> lifeline_;  // under the record's mutex, once it is born
  Record& record_;
};

/// The children of this process that have not been joined. After a fork the child's list is empty.
class Children {
 public:
  /// 1 for the first Process that this process makes, and so on. Throws SystemError: no memory.
  static unsigned next_number();

  /// In the order of their start; those that are not born yet are left out.
  static std::vector<std::shared_ptr<Running>> all();

  /// Takes a child off the list that is known to have ended.
  static void remove(const Running& child) noexcept;

  /// Kills `child` if it is a daemon, waits for its end, and takes it off the list. What the kernel refuses (the child
  /// runs as another user by now) is let be: there is nobody to tell.
  static void end(const Running& child) noexcept;

  /// The end of this process: kills the daemons, waits for the others. Allocates nothing: it may be the lack of memory
  /// that ends the process.
  static void end_all() noexcept;
};

}  // namespace multiproc::detail
