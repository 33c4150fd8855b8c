// SPDX-License-Identifier: MIT
//
// Deletes the file given as its argument, its own, and executes itself once more by own_image().

#include <cstdio>

#include <unistd.h>

#include <multiproc/os/self.hpp>

int main(int argc, char** argv) {
  if (argc < 2) {
    std::puts("second run");
    return 0;
  }
  if (::unlink(argv[1]) == 0) std::puts("deleted");
  std::fflush(stdout);
  char name[] = "again";
  char* arguments[] = {name, nullptr};
  ::execv(multiproc::os::own_image().c_str(), arguments);
  std::perror("execv");
  return 1;
}
