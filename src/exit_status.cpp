// SPDX-License-Identifier: MIT

#include <multiproc/exit_status.hpp>

#include <csignal>
#include <cstring>

namespace multiproc {

namespace {

std::string signal_name(int signal) {
  if (const char* abbreviation = ::sigabbrev_np(signal)) return std::string("SIG") + abbreviation;
  if (signal >= SIGRTMIN && signal <= SIGRTMAX) return "SIGRTMIN+" + std::to_string(signal - SIGRTMIN);
  return "an unnamed signal";
}

}  // namespace

int ExitStatus::exitcode() const noexcept {
  switch (how_) {
    case How::exited: return number_;
    case How::signalled: return -number_;
    case How::unknown: break;
  }
  return 255;
}

std::string ExitStatus::describe() const {
  switch (how_) {
    case How::exited: return "exited with code " + std::to_string(number_);
    case How::signalled:
      return "killed by " + signal_name(number_) + " (signal " + std::to_string(number_) +
             (core_dumped_ ? ", core dumped)" : ")");
    case How::unknown: break;
  }
  return "ended, status unknown";
}

ExitStatus ExitStatus::with(const ResourceUse& used, bool core_dumped) const noexcept {
  ExitStatus copy = *this;
  copy.used_ = used;
  copy.core_dumped_ = core_dumped;
  return copy;
}

}  // namespace multiproc
