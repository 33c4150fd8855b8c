// SPDX-License-Identifier: MIT

#include <multiproc/os/launch.hpp>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <new>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <multiproc/os/poll.hpp>
#include <multiproc/os/signal.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

namespace {

// The number that was free last: a good guess for the next time.
constinit std::atomic<int> last_free{-1};

bool is_free(int fd) noexcept {
  rlimit limit{};
  return fd >= 0 && ::fcntl(fd, F_GETFD) < 0 && errno == EBADF && ::getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
         static_cast<rlim_t>(fd) < limit.rlim_cur;
}

// Is there room in the descriptor table for the pidfd to come? Another thread may take it; Child::adopt sees that.
Result<> require_descriptor() noexcept {
  int error = fault::injected("eventfd");
  int fd = -1;
  if (error == 0) {
    if (is_free(last_free.load(std::memory_order_relaxed))) return {};
    fd = ::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);               // the cheapest descriptor there is
    if (fd < 0 && errno == EBADF) fd = ::eventfd(0, EFD_CLOEXEC);  // stderr is closed
    if (fd < 0) error = errno == EINVAL ? EMFILE : errno;          // EINVAL: as in duplicate_fd()
  }
  if (fd >= 0) ::close(fd);
  if (fd >= 0) last_free.store(fd, std::memory_order_relaxed);
  if (error != 0) return Failure{"pidfd_open", error};  // the name of the call that this stands in for
  return {};
}

// `grace` is the distance from the soft to the hard limit. A value above the present hard limit is tried all the same:
// the kernel lets the privileged raise it, and its EPERM is the right answer for others.
Result<> limit(__rlimit_resource what, const char* call, std::optional<std::uint64_t> value, rlim_t grace) noexcept {
  if (!value) return {};
  if (const int error = fault::injected("setrlimit")) return Failure{call, error};
  rlimit before{};
  if (::getrlimit(what, &before) != 0) return Failure{call, errno};
  rlimit after{*value, *value > RLIM_INFINITY - grace ? RLIM_INFINITY : *value + grace};
  if (after.rlim_max > before.rlim_max && after.rlim_cur <= before.rlim_max) after.rlim_max = before.rlim_max;
  if (::setrlimit(what, &after) != 0) return Failure{call, errno};
  return {};
}

// The mask lives on the stack: no allocation between fork and the target.
Result<> pin(const std::vector<int>& cpus) noexcept {
  if (cpus.empty()) return {};
  if (const int error = fault::injected("sched_setaffinity")) return Failure{"sched_setaffinity", error};
  constexpr int kMostCpus = 8192;  // Linux's CONFIG_NR_CPUS on the largest machines
  alignas(cpu_set_t) unsigned char mask[kMostCpus / 8]{};
  for (const int cpu : cpus) {
    if (cpu < 0 || cpu >= kMostCpus) return Failure{"sched_setaffinity", EINVAL};
    CPU_SET_S(static_cast<std::size_t>(cpu), sizeof mask, reinterpret_cast<cpu_set_t*>(mask));
  }
  if (::sched_setaffinity(0, sizeof mask, reinterpret_cast<cpu_set_t*>(mask)) != 0) {
    return Failure{"sched_setaffinity", errno};
  }
  return {};
}

// Waits for the child's word on its setup: a Failure, whose `call` points into the image that both share. A child that
// was killed before it could say anything has been launched, and its status will tell. The pipe alone would not do:
// another fork of this process may hold its write end.
Failure await_setup(const Child& child, int report, Deadline deadline) noexcept {
  std::array<PollItem, 2> items{PollItem{report}, PollItem{child.sentinel()}};
  const auto ready = poll_all(items, deadline);
  if (!ready) return ready.failure();
  if (ready.value() == 0) return Failure{"fork", ETIMEDOUT};
  // Seen dead but not heard: it may have spoken and died while poll(2) went from the first to the second.
  if (!items[0].ready) {
    const auto heard = wait_readable(report, Deadline::now());
    if (!heard) return heard.failure();
    if (!heard.value()) return {};
  }
  Failure outcome{};
  const auto read = read_some(report, std::as_writable_bytes(std::span(&outcome, 1)));
  return read ? outcome : read.failure();
}

// The child's side of that.
void report_setup(const ChildSetup& setup, PipeEnds& report) noexcept {
  const Result<> applied = apply(setup);
  const Failure outcome = applied.failure();
  (void)write_all(report.write.get(), std::as_bytes(std::span(&outcome, 1)));
  if (!applied) ::_exit(127);
  report.write.reset();
  report.read.reset();
}

// posix_spawn once more, by vfork(2): glibc's makes its child by clone3, and takes ENOSYS as an answer but not the
// EPERM with which the seccomp filters of some containers refuse calls that they don't know. 0, or the errno.
int spawn_by_vfork(pid_t& pid, const char* path, char* const* arguments, char* const* environment,
                   std::span<const int> inherited, int end, int directory) noexcept {
  volatile int error = 0;  // the child writes here: it shares our memory until it has executed
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  pid = ::vfork();
  if (pid == 0) {
    const auto check = [&error](int rc) {
      if (rc != 0 && error == 0) error = errno;
    };
    if (directory >= 0) check(::fchdir(directory));
    for (const int fd : inherited) check(::fcntl(fd, F_SETFD, 0));
    if (end >= 0) check(::fcntl(end, F_SETFD, 0));
    for (int signal = 1; signal < NSIG; ++signal) {  // no handler of the program may run in here
      struct sigaction action {};
      if (::sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;
      action = {};
      action.sa_handler = SIG_DFL;
      ::sigaction(signal, &action, nullptr);
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (error == 0) check(::execve(path, arguments, environment));
    ::_exit(127);
  }
  if (pid < 0) error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid > 0 && error != 0) {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
  return error;
}

}  // namespace

Result<PipeEnds> make_end() noexcept {
  if (has_pidfd()) return PipeEnds{};
  return make_pipe();
}

Result<> apply(const ChildSetup& setup) noexcept {
  if (const auto watched = watch_parent(setup.watch); !watched) return watched;
  if (setup.directory >= 0) {
    if (const int error = fault::injected("fchdir")) return Failure{"chdir", error};
    if (::fchdir(setup.directory) != 0) return Failure{"chdir", errno};
  }
  if (const auto pinned = pin(setup.cpus); !pinned) return pinned;
  if (const auto set = limit(RLIMIT_AS, "setrlimit(RLIMIT_AS)", setup.memory_bytes, 0); !set) return set;
  if (const auto set = limit(RLIMIT_CPU, "setrlimit(RLIMIT_CPU)", setup.cpu_seconds, 1); !set) return set;
  if (const auto set = limit(RLIMIT_NOFILE, "setrlimit(RLIMIT_NOFILE)", setup.open_files, 0); !set) return set;
  // A plain store, where setenv() would take glibc's environment lock, which another thread may have held at the fork.
  if (setup.environment != nullptr) environ = setup.environment;
  return {};
}

Result<Fd> open_directory(const char* path) noexcept {
  if (const int error = fault::injected("open")) return Failure{"chdir", error};
  const int fd = ::open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failure{"chdir", errno};
  Fd directory(fd);
  // O_PATH opens a directory that may not be entered too. The child of a posix_spawn could not say that it was this.
  struct stat entered {};
  if (::fstatat(fd, ".", &entered, 0) != 0) return Failure{"chdir", errno};
  return above_stdio(std::move(directory));
}

// [[gnu::hot]], here and on what else a plain child runs before and after its target: the linker lays such functions
// side by side, so that the child, which starts without page tables for code, faults once for them and not once for
// each.
[[gnu::hot]] Result<Child> fork_child(const ChildSetup& setup,
                                      void (*live)(void* with, const AllSignalsBlocked& blocked), void* with,
                                      Deadline deadline) noexcept {
  Result<PipeEnds> made_end = make_end();
  if (!made_end) return made_end.failure();
  PipeEnds end = std::move(made_end.value());
  PipeEnds report;
  if (setup.can_fail()) {
    Result<PipeEnds> made = make_pipe();
    if (!made) return made.failure();
    report = std::move(made.value());
  }
  if (const auto room = require_descriptor(); !room) return room.failure();

  AllSignalsBlocked blocked;
  const std::int64_t before = boot_time();
  pid_t pid = -1;
  int error = fault::injected("fork");
  if (error == 0) {
    pid = ::fork();
    if (pid < 0) error = errno;
  }
  if (pid < 0) return Failure{"fork", error};
  if (pid == 0) {
    // end.write stays open until this process ends.
    if (report.write) {
      report_setup(setup, report);
    } else if (setup.environment != nullptr) {
      environ = setup.environment;
    }
    live(with, blocked);
    ::_exit(0);
  }

  if (setup.settles_later && !report.write && !end.read) return Child::newborn(pid, before);
  Result<Child> child = Child::adopt(pid, std::move(end.read));
  end.write.reset();
  if (!child) return child.failure();
  if (report.write) {
    report.write.reset();
    blocked.restore();  // the child may take its time, in a directory of a file server that is gone say
    if (const Failure outcome = await_setup(child.value(), report.read.get(), deadline); outcome.error != 0) {
      child.value().destroy();
      return outcome;
    }
  }
  return child;
}

Result<Child> spawn_child(const char* path, char* const* arguments, char* const* environment,
                          std::span<const int> inherited, int directory, PipeEnds end) noexcept {
  if (!end.read) {
    Result<PipeEnds> made = make_end();
    if (!made) return made.failure();
    end = std::move(made.value());
  }
  if (const auto room = require_descriptor(); !room) return room.failure();

  posix_spawn_file_actions_t actions;
  int error = ::posix_spawn_file_actions_init(&actions);
  if (error != 0) return Failure{"posix_spawn", error};
  if (directory >= 0) error = ::posix_spawn_file_actions_addfchdir_np(&actions, directory);
  // dup2 onto itself takes close-on-exec away in the child alone (glibc 2.29, posix_spawn_file_actions_adddup2(3)).
  for (const int fd : inherited) {
    if (error == 0) error = ::posix_spawn_file_actions_adddup2(&actions, fd, fd);
  }
  if (error == 0 && end.write) error = ::posix_spawn_file_actions_adddup2(&actions, end.write.get(), end.write.get());

  pid_t pid = -1;
  if (error == 0) error = fault::injected("posix_spawn");
  if (error == 0) error = ::posix_spawn(&pid, path, &actions, nullptr, arguments, environment);
  ::posix_spawn_file_actions_destroy(&actions);
  if (error == EPERM) error = spawn_by_vfork(pid, path, arguments, environment, inherited, end.write.get(), directory);
  if (error != 0) return Failure{"posix_spawn", error};
  return Child::adopt(pid, std::move(end.read));
}

}  // namespace multiproc::os
