// SPDX-License-Identifier: MIT
//
// spawner <plain|daemon|thread> <wire>: tells the wire its pid as soon as it is past main_guard(), and then spawns one
// process after the other until it is killed. Whoever else tells the wire a pid is a second main().

#include <cstdlib>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/process.hpp>

namespace {

void spawn_for_ever(bool daemons) {
  for (;;) {
    multiproc::Process child{{.daemon = daemons, .start_method = multiproc::StartMethod::spawn}, [] {}};
    child.start();
  }
}

}  // namespace

int main(int argc, char** argv) {
  multiproc::main_guard(argc, argv);
  const std::string pid = std::to_string(::getpid()) + "\n";
  const int wire = ::open(argv[2], O_WRONLY | O_CLOEXEC);
  (void)!::write(wire, pid.data(), pid.size());
  if (std::string_view(argv[1]) == "thread") {
    std::thread(spawn_for_ever, true).join();
  } else {
    spawn_for_ever(std::string_view(argv[1]) == "daemon");
  }
  return 1;
}
