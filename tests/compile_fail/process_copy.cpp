// SPDX-License-Identifier: MIT
// expect-regex: deleted (function|copy constructor)

#include <multiproc/process/process.hpp>

void start(const multiproc::Process& child) {
  multiproc::Process twin = child;
  twin.start();
}
