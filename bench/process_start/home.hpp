// SPDX-License-Identifier: MIT
//
// process_start/home.hpp: the process that a contender lives in.
//
// A contender changes the process that it runs in: after a std::thread glibc takes its locks in every fork, a Process
// leaves its traces on the heap, and Python is another program. So there is a home
// for each kind: a fresh run of this program (or of python.py) that touches as much memory as the level asks for, then
// does starts when told to, and times them itself. The benchmark tells one home after the other, a few starts at a
// time.
//
// The conversation is lines of text over a socket: "<contender> <starts>", answered by the seconds that they took, or
// by "error <why>". The first line of a home is "ready", or "skip <why>" where it can't be had at all.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include <multiproc/os/child.hpp>
#include <multiproc/os/fd.hpp>

namespace process_start {

class Home {
 public:
  /// Starts it; it then touches `bytes` of memory. `name`: "python", or any other for a home of this program.
  Home(std::string name, std::size_t bytes);
  Home(Home&&) noexcept = default;
  ~Home();  // ends it

  const std::string& name() const noexcept { return name_; }

  /// Waits until it is ready. A text: it can't be had here, and why.
  std::optional<std::string> settle();

  /// Seconds for `starts` starts and joins, one after the other. Throws std::runtime_error where one went wrong.
  double run(std::string_view contender, long starts);

 private:
  std::optional<std::string> hear();

  std::string name_;
  multiproc::os::Fd socket_;
  multiproc::os::Child process_;
  std::string heard_;  // past the last whole line
};

/// Whether these are the arguments of a home; then it is lived in, and `exit_code` is what main() returns.
bool live_at_home(int argc, char** argv, int& exit_code);

}  // namespace process_start
