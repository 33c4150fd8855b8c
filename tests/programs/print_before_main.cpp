// SPDX-License-Identifier: MIT
//
// Three processes print short and long lines to one place: this one, one that it spawns, and a child that was forked
// before main() by a constructor. 200 lines each: "e<pid>:<number>:<length>:eee."

#include <cstdlib>
#include <string>

#include <sys/wait.h>
#include <unistd.h>

#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/print.hpp>
#include <multiproc/process/process.hpp>

namespace {

void print_lines() {
  for (int i = 0; i < 200; ++i) {
    const std::size_t length = i % 10 == 9 ? 70'000 : static_cast<std::size_t>(i);
    multiproc::println("e{}:{}:{}:{}.", ::getpid(), i, length, std::string(length, 'e'));
  }
}

struct Early {
  pid_t child = std::getenv("PRINT_SPAWNED") != nullptr ? -1 : ::fork();

  Early() {
    if (child != 0) return;
    print_lines();
    ::_exit(0);
  }
} const early;

}  // namespace

int main(int argc, char** argv) {
  multiproc::main_guard(argc, argv);
  multiproc::Process spawned({.start_method = multiproc::StartMethod::spawn, .env = {{"PRINT_SPAWNED", "1"}}},
                             print_lines);
  spawned.start();
  print_lines();
  spawned.join();
  int status = -1;
  ::waitpid(early.child, &status, 0);
  return spawned.exitcode() == 0 && status == 0 ? 0 : 1;
}
