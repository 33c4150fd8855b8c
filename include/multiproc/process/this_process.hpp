// SPDX-License-Identifier: MIT
//
// multiproc/process/this_process.hpp: who we are, who started us, whom we started, and how many CPUs we have.
#pragma once

#include <csignal>  // pid_t
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <multiproc/deadline.hpp>

namespace multiproc {

namespace detail {
class Watched;
}

/// A process as seen from another one: a handle, cheap to copy. It never takes an exit status away from its parent.
class ProcessInfo {
 public:
  pid_t pid() const noexcept { return pid_; }
  const std::string& name() const noexcept { return name_; }
  bool is_alive() const;

  /// Waits for its end. False: the deadline passed. Throws InvalidState for the calling process itself.
  bool join(Deadline deadline = Deadline::never()) const;

  /// A descriptor that is readable once the process has ended; valid while a copy of this object lives. Throws
  /// InvalidState for the calling process itself.
  int sentinel() const;

  ProcessInfo(pid_t pid, std::string name, std::shared_ptr<const detail::Watched> watched)
      : pid_(pid), name_(std::move(name)), watched_(std::move(watched)) {}

 private:
  pid_t pid_;
  std::string name_;
  std::shared_ptr<const detail::Watched> watched_;  // null: the calling process
};

/// The calling process: "MainProcess", or the name that its Process object has.
ProcessInfo current_process();

/// The process that started this one by this library; nullopt in the first one.
std::optional<ProcessInfo> parent_process();

/// The children of this process that were started and have not ended, in the order of their start.
std::vector<ProcessInfo> active_children();

/// CPUs that this process may keep busy: its affinity mask, cut to the CPU quota of its cgroups and rounded up; at
/// least 1. Where both are unset, the number of CPUs that are online.
unsigned cpu_count();

}  // namespace multiproc
