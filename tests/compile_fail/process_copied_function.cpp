// SPDX-License-Identifier: MIT
// expect: copied(): this is no lambda but an address, which means nothing in another process
// expect: A function is passed to Process as it is

#include <multiproc/process/process.hpp>

void greet(int times);

void start() {
  multiproc::Process child{multiproc::copied(greet), 3};
  child.start();
}
