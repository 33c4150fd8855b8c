// SPDX-License-Identifier: MIT

#include "support/child.hpp"

#include <cerrno>
#include <cstring>
#include <exception>
#include <stdexcept>

#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {

void hold_on_cpu(unsigned index) {
  cpu_set_t usable;
  if (::sched_getaffinity(0, sizeof usable, &usable) != 0) return;
  index %= static_cast<unsigned>(CPU_COUNT(&usable));
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &usable) || index-- != 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

Child::Child(unsigned cpu, const std::function<bool()>& body) : pid_(::fork()) {
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ != 0) return;
  bool ok = false;
  try {
    hold_on_cpu(cpu);
    ok = body();
  } catch (const std::exception&) {
    ok = false;
  }
  ::_exit(ok ? 0 : 1);
}

Child::~Child() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  (void)ended_well();
}

bool Child::ended_well() {
  if (pid_ <= 0) return false;
  int status = -1;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

FirstCpu::FirstCpu() {
  cpu_set_t before;
  static_assert(sizeof before == sizeof before_);
  ::sched_getaffinity(0, sizeof before, &before);
  std::memcpy(before_, &before, sizeof before);
}

FirstCpu::~FirstCpu() {
  cpu_set_t before;
  std::memcpy(&before, before_, sizeof before);
  ::sched_setaffinity(0, sizeof before, &before);
}

}  // namespace bench
