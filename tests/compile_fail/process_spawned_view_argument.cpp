// SPDX-License-Identifier: MIT
// expect: a view (string_view, span) borrows memory of this process; send a std::string or a std::vector, which own it

#include <string_view>

#include <multiproc/process/process.hpp>

void greet(std::string_view name);

void start(std::string_view name) {
  auto child = multiproc::Process::spawned({}, greet, name);
  child.start();
}
