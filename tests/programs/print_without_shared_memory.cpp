// SPDX-License-Identifier: MIT
//
// Prints a short and a long line where the kernel gives neither shared memory nor record locks.

#include <cerrno>
#include <string>

#include <multiproc/process/print.hpp>

#include "os/fault.hpp"

int main() {
  namespace fault = multiproc::os::fault;
  fault::arm("mmap", ENOMEM, 1, 1000);
  fault::arm("fcntl", ENOLCK, 1, 1000);
  multiproc::println("short");
  multiproc::println("{}", std::string(100 * 1024, 'x'));
  return fault::seen("mmap") > 0 && fault::seen("fcntl") > 0 ? 0 : 1;
}
