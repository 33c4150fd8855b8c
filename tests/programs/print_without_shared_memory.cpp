// SPDX-License-Identifier: MIT
//
// Prints where the kernel gives neither shared memory nor record locks: a short and a long line, then long ones by two
// threads and two streams that lead to one place.

#include <cerrno>
#include <cstdio>
#include <string>
#include <thread>

#include <unistd.h>

#include <multiproc/process/print.hpp>

#include "os/fault.hpp"

namespace {

void print_lines(std::FILE* stream, int printer) {
  for (int i = 0; i < 50; ++i) multiproc::println(stream, "t{}:{}:70000:{}.", printer, i, std::string(70000, 't'));
}

}  // namespace

int main() {
  namespace fault = multiproc::os::fault;
  fault::arm("mmap", ENOMEM, 1, 1000);
  fault::arm("fcntl", ENOLCK, 1, 1000);
  multiproc::println("short");
  multiproc::println("{}", std::string(100 * 1024, 'x'));
  ::dup2(1, 2);
  std::thread other(print_lines, stderr, 1);
  print_lines(stdout, 0);
  other.join();
  return fault::seen("mmap") > 0 && fault::seen("fcntl") > 0 ? 0 : 1;
}
