// SPDX-License-Identifier: MIT
//
// The floors. /proc/self/exe is the image that multiproc executes too.

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process_start/contenders.hpp"

namespace process_start {

namespace {

constexpr const char* kImage = "/proc/self/exe";

// Called in children alone, _exit would be looked up by the loader in each of them, which costs a dozen page faults:
// the floor would be no floor. An address that stands in data is found when the program is loaded.
void (*volatile leave)(int) = ::_exit;

int exit_code_of(pid_t child) {
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child || !WIFEXITED(status)) return -1;
  return WEXITSTATUS(status);
}

char** arguments() {
  static char name[] = "bench_process_start";
  static char* const end_at_once = const_cast<char*>(kEndAtOnce);  // exec promises not to write to it
  static char* list[] = {name, end_at_once, nullptr};
  return list;
}

}  // namespace

int raw_fork() {
  const pid_t child = ::fork();
  if (child == 0) leave(0);
  return exit_code_of(child);
}

int raw_fork_unhandled() {
  const pid_t child = ::_Fork();
  if (child == 0) leave(0);
  return exit_code_of(child);
}

int raw_posix_spawn() {
  pid_t child = -1;
  if (::posix_spawn(&child, kImage, nullptr, nullptr, arguments(), environ) != 0) return -1;
  return exit_code_of(child);
}

int raw_vfork_exec() {
  char** const list = arguments();  // made before: the child borrows this stack
  const pid_t child = ::vfork();
  if (child == 0) {
    ::execve(kImage, list, environ);
    ::_exit(127);
  }
  return exit_code_of(child);
}

}  // namespace process_start
