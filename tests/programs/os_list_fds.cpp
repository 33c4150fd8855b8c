// SPDX-License-Identifier: MIT
//
// Prints the numbers of the descriptors that it was started with, one a line.

#include <cstdio>

#include <fcntl.h>
#include <unistd.h>

int main() {
  for (int fd = 0; fd < 4096; ++fd) {
    if (::fcntl(fd, F_GETFD) >= 0) std::printf("%d\n", fd);
  }
}
