// SPDX-License-Identifier: MIT

#include "lock/workload.hpp"

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <string>

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/bench.hpp"
#include "support/child.hpp"

namespace lock_bench {

Runner::Runner(bool (*body)(void*), void* context, unsigned cpu) {
  int start[2];
  if (::pipe2(start, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
  pid_ = ::fork();
  if (pid_ == 0) {
    ::close(start[1]);
    bench::hold_on_cpu(cpu);
    char byte = 0;
    const bool told = ::read(start[0], &byte, 1) == 1;
    ::_exit(told && body(context) ? 0 : 1);
  }
  ::close(start[0]);
  start_ = start[1];
  if (pid_ < 0) throw std::runtime_error("fork");
}

Runner::~Runner() {
  kill();
  (void)ended_well();
  ::close(start_);
}

void Runner::go() {
  if (::write(start_, "", 1) != 1) throw std::runtime_error("write");
}

bool Runner::ended_well() {
  if (pid_ <= 0) return false;
  int status = -1;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void Runner::kill() {
  if (pid_ > 0) ::kill(pid_, SIGKILL);
}

// proc(5), "syscall": the number of the call in which it sleeps. Before it was told to go that is read(2).
bool Runner::is_asleep() const {
  const std::string path = "/proc/" + std::to_string(pid_) + "/syscall";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), &std::fclose);
  if (!file) throw std::runtime_error(path);
  long call = -1;
  return std::fscanf(file.get(), "%ld", &call) == 1 && call == SYS_futex;
}

std::size_t rounds_of_each() {
  return bench::is_quick() ? 10'000 : 1'000'000;
}

std::int64_t now_ns() noexcept {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}

}  // namespace lock_bench
