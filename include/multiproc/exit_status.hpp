// SPDX-License-Identifier: MIT
//
// multiproc/exit_status.hpp: what became of a process: it exited with a code, a signal killed it, or nobody knows.
//
// "Nobody knows" is real: a program that ignores SIGCHLD, or reaps with waitpid(-1) in another thread, takes the
// status before we can read it. The process has ended then, and that is all that can be said.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace multiproc {

/// What a process used up, by getrusage(2). Zero when nobody told.
struct ResourceUse {
  std::uint64_t max_rss = 0;                 // bytes: the most memory it had resident at once
  std::chrono::microseconds user_time{0};    // CPU time in its own code
  std::chrono::microseconds system_time{0};  // CPU time in the kernel on its behalf
};

class ExitStatus {
 public:
  static ExitStatus exited_with(int code) noexcept { return {How::exited, code}; }
  static ExitStatus killed_by(int signal) noexcept { return {How::signalled, signal}; }
  static ExitStatus unknown() noexcept { return {How::unknown, 0}; }

  bool exited() const noexcept { return how_ == How::exited; }
  bool signalled() const noexcept { return how_ == How::signalled; }
  bool known() const noexcept { return how_ != How::unknown; }
  bool success() const noexcept { return exited() && number_ == 0; }

  int code() const noexcept { return exited() ? number_ : 0; }       // 0..255; 0 unless exited()
  int signal() const noexcept { return signalled() ? number_ : 0; }  // 0 unless signalled()
  bool core_dumped() const noexcept { return core_dumped_; }

  /// Python's number: the exit code, or minus the signal. 255 when the status is not known, as in Python's asyncio.
  int exitcode() const noexcept;

  /// "exited with code 3", "killed by SIGSEGV (signal 11, core dumped)", "ended, status unknown".
  std::string describe() const;

  std::uint64_t max_rss() const noexcept { return used_.max_rss; }
  std::chrono::microseconds user_time() const noexcept { return used_.user_time; }
  std::chrono::microseconds system_time() const noexcept { return used_.system_time; }
  std::chrono::microseconds cpu_time() const noexcept { return used_.user_time + used_.system_time; }

  /// The same with what is known besides the outcome.
  ExitStatus with(const ResourceUse& used, bool core_dumped) const noexcept;

  /// Compares the outcome alone: exited or killed, and the number. Not the core dump, not the resources.
  bool operator==(const ExitStatus& other) const noexcept { return how_ == other.how_ && number_ == other.number_; }

 private:
  enum class How : std::uint8_t { exited, signalled, unknown };
  ExitStatus(How how, int number) noexcept : number_(number), how_(how) {}

  int number_;
  How how_;
  bool core_dumped_ = false;
  ResourceUse used_{};
};

}  // namespace multiproc
