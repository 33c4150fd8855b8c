// SPDX-License-Identifier: MIT
//
// src/process/start.hpp: one function per start method: makes the child of a Process.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <multiproc/os/launch.hpp>
#include <multiproc/process/process.hpp>

#include "process/running.hpp"

namespace multiproc::detail {

/// All that a start method needs to know.
struct Order {
  Task& task;
  const ProcessOptions& options;  // name filled in
  const std::string& path;        // Identity::path of the child
};

// What they throw leaves neither child nor descriptor. `running` has the options' name.
void start_by_fork(const Order& order, Running& running);
void start_by_spawn(const Order& order, Running& running);

/// The inherited environment with what the options add, in the form that exec wants. Throws Error for a name that is
/// empty or holds '=' or a zero byte.
class Environment {
 public:
  Environment(const ProcessOptions& options, const std::vector<std::string>& more = {});
  char** get() noexcept { return pointers_.data(); }

 private:
  std::vector<std::string> added_;
  std::vector<char*> pointers_;
};

/// Options as the os floor wants them, but for the directory, the environment and the watch.
os::ChildSetup setup_of(const ProcessOptions& options);

/// Opens options.cwd; an empty Fd where it is empty.
os::Fd open_cwd(const ProcessOptions& options);

/// Opens the watch of a daemon, which `running` keeps; a watch of nobody for others.
os::ParentWatch open_watch(const ProcessOptions& options, Running& running);

/// What options.start_timeout means from now on.
Deadline start_deadline(const ProcessOptions& options) noexcept;

/// Throws the refusal of a launch, with the remedy that belongs to it.
[[noreturn]] void throw_launch_failure(os::Failure failure, const ProcessOptions& options);

}  // namespace multiproc::detail
