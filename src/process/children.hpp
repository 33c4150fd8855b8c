// SPDX-License-Identifier: MIT
//
// src/process/children.hpp: the children of this process, and the memory in which what changes about them stands.
//
// That memory is left out of forks: a parent that writes to a page after a fork pays for a copy of it, and a forked
// child finds no children there. Any thread may call; a fork finds the list whole.
//
// Death       The list goes with its process. Children that were in it are joined or killed by end_all() at an orderly
//             end; else daemons end by their own watch.
// Stands on   os/memory.hpp, os/at_fork.hpp, os/child.hpp.
#pragma once

#include <atomic>
#include <csignal>  // pid_t
#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include <multiproc/exit_status.hpp>
#include <multiproc/os/child.hpp>

namespace multiproc::detail {

class Running;

/// What becomes of a Running after its birth, and its place in the list.
struct Record {
  Running* running = nullptr;
  Record* before = nullptr;
  Record* next = nullptr;  // in the list, or among the unused
  bool is_listed = false;
  std::atomic<pid_t> pid{0};
  std::mutex mutex;  // over the next two; never held while waiting
  os::Child child;
  std::optional<ExitStatus> status;
};

/// os::self_pid() without a system call: from the list of children, which a fork leaves out.
pid_t this_pid() noexcept;

/// The children of this process that have not been joined. After a fork the child's list is empty.
class Children {
 public:
  /// 1 for the first Process that this process makes, and so on. Throws SystemError: no memory.
  static unsigned next_number();

  /// A record for a child that is about to be born, at the end of the list. Throws SystemError: no memory.
  static Record& enter(Running& child);

  /// The end of a record, listed or not.
  static void leave(Record& record) noexcept;

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
