// SPDX-License-Identifier: MIT
// expect: spawn: this target can't travel to another process

#include <functional>

#include <multiproc/process/process.hpp>

void start(std::function<void()> target) {
  auto child = multiproc::Process::spawned({}, target);
  child.start();
}
