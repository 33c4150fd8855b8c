// SPDX-License-Identifier: MIT
// expect: spawn: this target can't travel to another process: it refers to memory of this one
// expect: Use a function, a captureless lambda, a functor with serialize(), or copied(lambda)

#include <multiproc/process/process.hpp>

void start() {
  int number = 1;
  auto child = multiproc::Process::spawned({}, [&number] { ++number; });
  child.start();
}
