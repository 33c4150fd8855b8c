// SPDX-License-Identifier: MIT
//
// Prints what the library thinks of the threads of a process that has one, then two, then one again; exits with 0 if a
// child forked in each of the three finds a ForkMutex free.

#include <cstdio>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/self.hpp>

namespace {

multiproc::os::ForkMutex mutex;
[[maybe_unused]] const bool is_enlisted = mutex.enlist();
int failed = 0;

void look(const char* when) {
  std::printf("%s: %d %u\n", when, multiproc::os::is_single_threaded(), multiproc::os::thread_count());
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(mutex.try_lock() ? 0 : 1);
  int status = 1;
  ::waitpid(child, &status, 0);
  if (status != 0 || !mutex.try_lock()) {
    failed = 1;
    return;
  }
  mutex.unlock();
}

}  // namespace

int main() {
  look("first");
  std::thread{[] { look("meanwhile"); }}.join();
  look("after");
  return failed;
}
