// SPDX-License-Identifier: MIT
// expect: Process: the target can't be called with these arguments

#include <string>

#include <multiproc/process/process.hpp>

void greet(const std::string& name, int times);

void start() {
  multiproc::Process child{greet, std::string("Ada")};
  child.start();
}
