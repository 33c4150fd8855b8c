// SPDX-License-Identifier: MIT

#include <multiproc/process/process.hpp>

#include <csignal>
#include <exception>

#include <multiproc/error.hpp>
#include <multiproc/os/self.hpp>

#include "process/cell_page.hpp"
#include "process/children.hpp"
#include "process/identity.hpp"
#include "process/print_family.hpp"
#include "process/spawn_protocol.hpp"
#include "process/start.hpp"

namespace multiproc {

Process::Process(std::unique_ptr<detail::Task> task, ProcessOptions options)
    : task_(std::move(task)),
      options_(std::move(options)),
      path_(detail::identity().child_path(detail::Children::next_number())),
      maker_(detail::this_pid()) {
  if (options_.name.empty()) options_.name = "Process-" + path_;
}

Process::Process(Process&&) noexcept = default;

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  end();
  task_ = std::move(other.task_);
  options_ = std::move(other.options_);
  path_ = std::move(other.path_);
  maker_ = other.maker_;
  running_ = std::move(other.running_);
  return *this;
}

Process::~Process() {
  end();
}

void Process::end() noexcept {
  if (maker_ != detail::this_pid()) (void)task_.release();  // a forked child's copy: the child may be running out of it
  if (!running_ || !running_->is_ours()) return;
  detail::Children::end(*running_);
  running_.reset();
}

void Process::start() {
  if (!task_) throw InvalidState("process '" + options_.name + "' was closed or moved from: make a new one");
  if (running_) throw InvalidState("process '" + options_.name + "' was started before: a Process is started once");
  if (maker_ != detail::this_pid()) {
    throw InvalidState("process '" + options_.name +
                       "' was made by another process, of which this is a copy: make a new "
                       "one here");
  }
  if (detail::guard().awaited) {
    throw MainGuardMissing("process '" + options_.name +
                           "' would be started by a spawned child before that has reached "
                           "main_guard(), and so once more in each child" +
                           detail::main_guard_remedy());
  }
  const StartMethod method = detail::resolve_start_method(options_.start_method, options_.name);
  detail::create_print_family();
  const detail::Order order{*task_, options_, path_};
  // Before the fork: whatever this process writes after it costs it the copy of a page.
  running_ =
      std::allocate_shared<detail::Running>(detail::CellAllocator<detail::Running>(), options_.name, options_.daemon);
  try {
    method == StartMethod::fork ? detail::start_by_fork(order, *running_) : detail::start_by_spawn(order, *running_);
  } catch (...) {
    running_.reset();
    throw;
  }
  task_->let_go();
}

detail::Running& Process::running(const char* what) const {
  const char* why = nullptr;
  if (!task_) {
    why = "was closed or moved from";
  } else if (!running_) {
    why = "was not started: call start() first";
  } else if (!running_->is_ours()) {
    why = "belongs to the process that started it, of which this is a copy";
  } else {
    return *running_;
  }
  throw InvalidState(std::string(what) + ": process '" + options_.name + "' " + why);
}

void Process::join() {
  (void)join(Deadline::never());
}

bool Process::join(Deadline deadline) {
  detail::Running& child = running("join");
  if (!child.wait(deadline)) return false;
  detail::Children::remove(child);
  return true;
}

bool Process::is_alive() const {
  if (task_ && !running_) return false;
  return !running("is_alive").poll();
}

pid_t Process::pid() const {
  if (task_ && !running_) return 0;
  return running("pid").pid();
}

std::optional<ExitStatus> Process::exit_status() const {
  if (task_ && !running_) return std::nullopt;
  return running("exit_status").poll();
}

std::optional<int> Process::exitcode() const {
  const auto status = exit_status();
  return status ? std::optional(status->exitcode()) : std::nullopt;
}

void Process::terminate() {
  send_signal(SIGTERM);
}
void Process::kill() {
  send_signal(SIGKILL);
}
void Process::interrupt() {
  send_signal(SIGINT);
}
void Process::send_signal(int signal) {
  running("send_signal").send(signal);
}

int Process::sentinel() const {
  return running("sentinel").sentinel();
}

void Process::close() {
  if (running_) {
    if (running("close").poll() == std::nullopt) {
      throw InvalidState("close: process '" + options_.name + "' is alive: join() or terminate() it first");
    }
    detail::Children::remove(*running_);
    running_.reset();
  }
  end();
  task_.reset();
}

}  // namespace multiproc
