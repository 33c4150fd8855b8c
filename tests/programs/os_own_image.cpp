// SPDX-License-Identifier: MIT
//
// os_own_image <delete <file> | without_proc>: deletes its own file, or goes elsewhere and has no /proc; then executes
// itself once more by own_image().

#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <unistd.h>

#include <multiproc/os/self.hpp>

#include "os/fault.hpp"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::puts("second run");
    return 0;
  }
  if (std::string_view(argv[1]) == "without_proc") {
    multiproc::os::fault::arm("access", ENOENT);
    if (::chdir("/") == 0) std::puts("elsewhere");
  } else if (argc == 3 && ::unlink(argv[2]) == 0) {
    std::puts("deleted");
  }
  multiproc::os::OwnImage image = multiproc::os::own_image();
  if (image.path.empty()) {
    std::puts("no way");
    return 0;
  }
  std::fflush(stdout);
  if (image.loader.empty()) image.loader = {"again"};
  std::vector<char*> arguments;
  for (std::string& word : image.loader) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  ::execv(image.path.c_str(), arguments.data());
  std::perror("execv");
  return 1;
}
