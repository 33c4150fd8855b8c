// SPDX-License-Identifier: MIT

#include <multiproc/os/child.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <multiproc/os/poll.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

namespace {

constexpr idtype_t kByPidfd = static_cast<idtype_t>(3);  // P_PIDFD, which <sys/wait.h> of glibc < 2.36 lacks

bool refused(int error) noexcept {
  return error == ENOSYS || error == EPERM;
}

// An answer of waitid(P_PIDFD). Kernels before 5.4 know pidfds but not how to wait for one (EINVAL).
bool knows_no_pidfd(int error) noexcept {
  return refused(error) || error == EINVAL;
}

// waitid(2) by the raw call, whose fifth argument brings the resource use that glibc's wrapper drops.
Result<bool> wait_id(idtype_t by, id_t id, int options, siginfo_t& info, rusage* used, bool repeats = true) noexcept {
  for (;;) {
    int error = fault::injected(by == kByPidfd ? "waitid_pidfd" : "waitid");
    if (error == 0) {
      info.si_pid = 0;
      const long rc = ::syscall(SYS_waitid, by, id, &info, options | WEXITED | __WALL, used);
      if (rc == 0) return info.si_pid != 0;
      error = errno;
    }
    if (error != EINTR || !repeats) return Failure{"waitid", error};
  }
}

ExitStatus to_status(const siginfo_t& info, const rusage& used) noexcept {
  const auto micros = [](const timeval& time) {
    return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
  };
  const ResourceUse use{static_cast<std::uint64_t>(used.ru_maxrss) * 1024, micros(used.ru_utime),
                        micros(used.ru_stime)};
  if (info.si_code == CLD_EXITED) return ExitStatus::exited_with(info.si_status).with(use, false);
  return ExitStatus::killed_by(info.si_status).with(use, info.si_code == CLD_DUMPED);
}

constexpr std::int64_t kSecond = 1'000'000'000;
// No kernel gives out all pids within that time: there are at least 300 of them (RESERVED_PIDS), and a fork takes some
// 50 microseconds.
constexpr std::int64_t kNewborn = kSecond / 100;

// Whether the process with that pid began after `time`: field 22 of proc_pid_stat(5). False where /proc does not say.
bool was_born_later(pid_t pid, std::int64_t time) noexcept {
  char path[32];
  std::snprintf(path, sizeof path, "/proc/%d/stat", pid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[512];
  const ssize_t size = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  text[std::max<ssize_t>(size, 0)] = '\0';
  const char* at = std::strrchr(text, ')');  // the name before it may hold anything
  for (int field = 2; at != nullptr && field < 22; ++field) at = std::strchr(at + 1, ' ');
  if (at == nullptr) return false;
  const std::int64_t tick = kSecond / ::sysconf(_SC_CLK_TCK);
  return std::strtoll(at, nullptr, 10) > time / tick;
}

Result<Fd> always_readable() noexcept {
  if (const int error = fault::injected("eventfd")) return Failure{"eventfd", error};
  const int fd = ::eventfd(1, EFD_CLOEXEC);
  if (fd < 0) return Failure{"eventfd", errno};
  return above_stdio(Fd{fd});
}

}  // namespace

std::int64_t boot_time() noexcept {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * kSecond + now.tv_nsec;
}

Result<Fd> open_pidfd(pid_t pid) noexcept {
  if (const int error = fault::injected("pidfd_open")) return Failure{"pidfd_open", error};
  const long fd = ::syscall(SYS_pidfd_open, pid, 0);
  if (fd < 0) return Failure{"pidfd_open", errno};
  return above_stdio(Fd{static_cast<int>(fd)});
}

bool has_pidfd() noexcept {
  static std::atomic<int> answer{-1};
  int known = answer.load(std::memory_order_relaxed);
  if (known < 0) {
    const auto probe = open_pidfd(::getpid());
    known = probe.ok() || !refused(probe.error()) ? 1 : 0;
    answer.store(known, std::memory_order_relaxed);
  }
  return known == 1;
}

Result<Child> Child::adopt(pid_t pid, Fd end) noexcept {
  Child child;
  child.pid_ = pid;
  Result<Fd> pidfd = end ? Result<Fd>(Failure{"pidfd_open", ENOSYS}) : open_pidfd(pid);
  if (pidfd) {
    child.end_ = std::move(pidfd.value());
    child.by_pidfd_ = true;
    child.end_tells_ = true;
    return child;
  } else if (end && refused(pidfd.error())) {
    child.end_ = std::move(end);
    return child;
  } else if (pidfd.error() != ESRCH) {
    child.destroy();
    return pidfd.failure();
  }
  child.has_gone();  // ESRCH: with SIGCHLD ignored a short child leaves nothing behind
  return child;
}

void Child::has_gone() noexcept {
  gone_ = true;
  by_pidfd_ = false;
  end_tells_ = true;
  // Without a descriptor left for a sentinel it is a child that ended all the same, and not one that was not launched.
  Result<Fd> ended = always_readable();
  end_ = ended ? std::move(ended.value()) : Fd{};
}

Child Child::newborn(pid_t pid, std::int64_t before) noexcept {
  Child child;
  child.pid_ = pid;
  child.is_settled_ = false;
  child.forked_ = before;
  child.born_ = boot_time();
  return child;
}

bool Child::is_newborn() const noexcept {
  return !is_settled_ && boot_time() - forked_ < kNewborn;
}

Result<> Child::settle() noexcept {
  if (is_settled_) return {};
  Result<Fd> pidfd = open_pidfd(pid_);
  const bool is_young = is_newborn();  // afterwards: long may have passed before
  if (!pidfd && pidfd.error() != ESRCH) return pidfd.failure();
  is_settled_ = true;
  if (!pidfd) {
    has_gone();
    return {};
  }
  end_ = std::move(pidfd.value());
  by_pidfd_ = true;
  end_tells_ = true;
  if (is_young) return {};
  siginfo_t info{};
  const auto ours = wait_id(kByPidfd, static_cast<id_t>(end_.get()), WNOHANG | WNOWAIT, info, nullptr);
  if ((!ours && ours.error() == ECHILD) || was_born_later(pid_, born_)) has_gone();
  return {};
}

// Whether the child can be reaped, or was by somebody else.
Result<bool> Child::look(int options) const noexcept {
  siginfo_t info{};
  Result<bool> ended = Failure{"waitid", ENOSYS};
  if (by_pidfd_) ended = wait_id(kByPidfd, static_cast<id_t>(end_.get()), options | WNOWAIT, info, nullptr);
  if (!ended && knows_no_pidfd(ended.error())) {
    ended = wait_id(P_PID, static_cast<id_t>(pid_), options | WNOWAIT, info, nullptr);
  }
  if (!ended && ended.error() == ECHILD) return true;
  return ended;
}

Result<bool> Child::wait(Deadline deadline) const noexcept {
  if (end_tells_ && !by_pidfd_) return true;  // ended before it was adopted
  if (by_pidfd_ && deadline.is_never()) return look(0);
  // The descriptor says when to look at the child, and the child whether it has ended. A pidfd is readable for a child
  // that its debugger has not let go of yet; the pipe may be held open by a grandchild beyond the child's end, or be
  // closed long before it by a child that closes all that it has. So a pipe that is open is looked past now and then,
  // and where the descriptor has nothing more to tell the looks come at growing intervals.
  bool has_told = false;
  std::chrono::microseconds pause{50};
  for (;;) {
    if (!has_told) {
      const auto ready = wait_readable(end_.get(), by_pidfd_ ? deadline : Deadline::earlier(deadline, kLookInterval));
      if (!ready) return ready;
      if (by_pidfd_ && !ready.value()) return false;
      has_told = ready.value();
    }
    const auto ended = look(has_told && deadline.is_never() ? 0 : WNOHANG);
    if (!ended || ended.value()) return ended;
    if (deadline.passed()) return false;
    if (has_told) {
      const auto slept = poll_all({}, Deadline::earlier(deadline, pause));
      if (!slept) return slept.failure();
      pause = std::min<std::chrono::microseconds>(2 * pause, kLookInterval);
    }
  }
}

Result<std::optional<ExitStatus>> Child::reap() noexcept {
  return take_status(WNOHANG, true);
}

// From the moment in which the kernel has taken the pid of a newborn for it, it waits for that child and no other. A
// signal handler may have taken anybody's status, and long may have passed.
Result<std::optional<ExitStatus>> Child::wait_and_reap() noexcept {
  while (is_newborn()) {
    const auto taken = take_status(0, false);
    if (taken || taken.error() != EINTR) return taken;
  }
  (void)settle();  // refused: the pid will do, but for thieves
  return take_status(0, true);
}

Result<std::optional<ExitStatus>> Child::take_status(int options, bool repeats) noexcept {
  if (gone_) return std::optional(ExitStatus::unknown());
  siginfo_t info{};
  rusage used{};
  Result<bool> ended = Failure{"waitid", ENOSYS};
  if (by_pidfd_) ended = wait_id(kByPidfd, static_cast<id_t>(end_.get()), options, info, &used, repeats);
  if (!ended && knows_no_pidfd(ended.error())) {
    ended = wait_id(P_PID, static_cast<id_t>(pid_), options, info, &used, repeats);
  }
  if (!ended && ended.error() == ECHILD) {
    gone_ = true;
    // Taken by another while the child lives? It can't be: a status is taken at the end. But a thief may come first.
    return std::optional(ExitStatus::unknown());
  }
  if (!ended) return ended.failure();
  if (!ended.value()) return std::optional<ExitStatus>{};
  gone_ = true;
  return std::optional(to_status(info, used));
}

Result<> Child::send(int signal) const noexcept {
  if (gone_) return {};
  int error = ENOSYS;
  if (by_pidfd_) {
    error = fault::injected("pidfd_send_signal");
    if (error == 0) {
      if (::syscall(SYS_pidfd_send_signal, end_.get(), signal, nullptr, 0) == 0) return {};
      error = errno;
    }
  }
  if (refused(error)) {
    // The pid is safe to use for as long as nobody has reaped it: ECHILD says that somebody has.
    siginfo_t info{};
    const auto ours = wait_id(P_PID, static_cast<id_t>(pid_), WNOHANG | WNOWAIT, info, nullptr);
    if (!ours && ours.error() == ECHILD) return {};
    error = fault::injected("kill");
    if (error == 0) {
      if (::kill(pid_, signal) == 0) return {};
      error = errno;
    }
  }
  if (error == ESRCH) return {};
  return Failure{"pidfd_send_signal", error};
}

void Child::destroy() noexcept {
  if (gone_ || pid_ <= 0) return;
  ::kill(pid_, SIGKILL);  // safe: nobody but us reaps what was just born, and a thief's pid is not reused that soon
  siginfo_t info{};
  (void)wait_id(P_PID, static_cast<id_t>(pid_), 0, info, nullptr);
  gone_ = true;
}

}  // namespace multiproc::os
