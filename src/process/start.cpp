// SPDX-License-Identifier: MIT

#include "process/start.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <multiproc/error.hpp>
#include <multiproc/os/self.hpp>

namespace multiproc::detail {

namespace {

std::string_view name_of(std::string_view assignment) {
  return assignment.substr(0, assignment.find('='));
}

std::string_view remedy_for(os::Failure failure) {
  const std::string_view call = failure.call;
  const bool is_full = failure.error == EMFILE || failure.error == ENFILE || failure.error == ENOMEM;
  if (call == "chdir" && !is_full) return "ProcessOptions::cwd must name a directory that may be entered";
  if (call == "sched_setaffinity") return "ProcessOptions::cpus must name a CPU that is online and allowed here";
  if (call.starts_with("setrlimit")) {
    return "ProcessOptions::limits may go above the hard limit of this process (ulimit -H) for root alone";
  }
  switch (failure.error) {
    case EAGAIN: return "The limit of processes is reached (ulimit -u, pids.max of the cgroup): end some, or raise it";
    case EMFILE: return "This process has no descriptor left (ulimit -n): close some, or raise the limit";
    case ENFILE: return "The system has no descriptor left (fs.file-max)";
    case E2BIG:
      return "The arguments of this program and its environment with ProcessOptions::env are too long to execute it "
             "once "
             "more (128 KiB each, a quarter of ulimit -s all): send what is large as an argument of the target";
    case ENOMEM:
      return call == "fork" ? "The kernel won't promise the memory of this process a second time "
                              "(vm.overcommit_memory): StartMethod::spawn copies none"
                            : "No memory is left";
    default: return {};
  }
}

}  // namespace

Environment::Environment(const ProcessOptions& options, const std::vector<std::string>& more) {
  for (const auto& [name, value] : options.env) {
    if (name.empty() || name.find('=') != std::string::npos || name.find('\0') != std::string::npos ||
        value.find('\0') != std::string::npos) {
      throw Error(
          "process '" + options.name + "': ProcessOptions::env: '" + name +
          "' can't name a variable: a name is not empty and holds no '=', and neither it nor its value a zero byte");
    }
    added_.emplace_back(name).append("=").append(value);
  }
  added_.insert(added_.end(), more.begin(), more.end());
  const auto is_added = [this](const char* inherited) {
    return std::ranges::any_of(added_, [&](const std::string& mine) { return name_of(mine) == name_of(inherited); });
  };
  for (char** at = os::environment(); at != nullptr && *at != nullptr; ++at) {
    if (!is_added(*at)) pointers_.push_back(*at);
  }
  for (std::size_t i = 0; i < added_.size(); ++i) {  // of several with one name the last counts
    const auto same_name = [&](const std::string& later) { return name_of(later) == name_of(added_[i]); };
    if (std::none_of(added_.begin() + static_cast<std::ptrdiff_t>(i) + 1, added_.end(), same_name)) {
      pointers_.push_back(added_[i].data());
    }
  }
  pointers_.push_back(nullptr);
}

os::ChildSetup setup_of(const ProcessOptions& options) {
  os::ChildSetup setup;
  setup.memory_bytes = options.limits.memory_bytes;
  setup.cpu_seconds = options.limits.cpu_seconds;
  setup.open_files = options.limits.open_files;
  setup.cpus = options.cpus;
  return setup;
}

os::Fd open_cwd(const ProcessOptions& options) {
  if (options.cwd.empty()) return {};
  os::Result<os::Fd> directory = os::open_directory(options.cwd.c_str());
  if (!directory) throw_launch_failure(directory.failure(), options);
  return std::move(directory.value());
}

os::ParentWatch open_watch(const ProcessOptions& options, Running& running) {
  if (!options.daemon) return {};
  auto lifeline = std::make_unique<os::Lifeline>();
  const os::Result<os::ParentWatch> watch = lifeline->open();
  if (!watch) throw_launch_failure(watch.failure(), options);
  running.watch_by(std::move(lifeline));
  return watch.value();
}

Deadline start_deadline(const ProcessOptions& options) noexcept {
  return options.start_timeout ? Deadline(*options.start_timeout) : Deadline::never();
}

void throw_launch_failure(os::Failure failure, const ProcessOptions& options) {
  std::string object = "process '" + options.name + "'";
  if (std::strcmp(failure.call, "chdir") == 0) object += ": '" + options.cwd.string() + "'";
  os::throw_failure(failure, object, remedy_for(failure));
}

}  // namespace multiproc::detail
