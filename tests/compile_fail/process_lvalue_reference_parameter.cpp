// SPDX-License-Identifier: MIT
// expect: Process: the target can't be called with these arguments (they arrive as rvalues, as with std::thread
// expect: a target that takes a non-const reference does not fit

#include <multiproc/process/process.hpp>

void increment(int& number) {
  ++number;
}

void start() {
  int number = 1;
  multiproc::Process child{increment, number};
  child.start();
}
