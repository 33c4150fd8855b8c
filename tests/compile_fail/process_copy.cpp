// SPDX-License-Identifier: MIT
// expect: Process

#include <multiproc/process/process.hpp>

void start(const multiproc::Process& child) {
  multiproc::Process twin = child;
  twin.start();
}
