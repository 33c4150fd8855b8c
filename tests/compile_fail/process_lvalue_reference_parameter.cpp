// SPDX-License-Identifier: MIT
// expect: Process: the target can't be called with these arguments (they arrive as rvalues, as with std::thread
// expect: a non-const reference does not fit; results come back through a Queue, a Value or a Pipe)

#include <multiproc/process/process.hpp>

void increment(int& number) {
  ++number;
}

void start() {
  int number = 1;
  multiproc::Process child{increment, number};
  child.start();
}
