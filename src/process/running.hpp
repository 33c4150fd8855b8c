// SPDX-License-Identifier: MIT
//
// src/process/running.hpp: a child that is being started, or was: what its Process, active_children() and the end of
// this process share. The list of them is in children.hpp.
//
// What changes after the fork stands in a Record, in memory that forks leave out: a parent that writes to a page after
// a fork pays for a copy of it, and in the child there would be nothing to do with it but mistakes. Only the process
// that made a Running may ask it anything, from any thread; elsewhere it is a shell that can be destroyed.
//
// Death       The child may end at any time: wait() and poll() tell of it, and signals to it do nothing.
// Stands on   children.hpp, os/child.hpp, os/parent_watch.hpp.
#pragma once

#include <csignal>  // pid_t
#include <memory>
#include <optional>
#include <string>
#include <utility>

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

}  // namespace multiproc::detail
