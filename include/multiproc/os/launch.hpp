// SPDX-License-Identifier: MIT
//
// multiproc/os/launch.hpp: making a child process: fork(2), or posix_spawn(3) of an image.
//
// What can fail in the child is prepared by the parent, tried by the child before its target, and reported back: a
// launch that fails answers here, with the child's own errno, and leaves no child and no descriptor.
//
// fork goes through fork(), never a raw clone: glibc's fork handlers keep malloc, stdio and robust mutexes usable in
// the child. All signals are blocked meanwhile, and a full descriptor table is found out before the birth, while there
// is nothing to undo.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <multiproc/os/child.hpp>
#include <multiproc/os/parent_watch.hpp>
#include <multiproc/os/pipe.hpp>
#include <multiproc/os/signal.hpp>

namespace multiproc::os {

/// What a child does to itself before its target runs. Only async-signal-safe calls; everything is prepared.
struct ChildSetup {
  std::optional<std::uint64_t> memory_bytes{};  // RLIMIT_AS
  std::optional<std::uint64_t> cpu_seconds{};   // RLIMIT_CPU: SIGXCPU there, SIGKILL a second later
  std::optional<std::uint64_t> open_files{};    // RLIMIT_NOFILE
  std::vector<int> cpus{};                      // sched_setaffinity; empty: inherit
  int directory = -1;                           // fchdir there; -1: stay
  char** environment = nullptr;                 // becomes environ; null: inherit
  ParentWatch watch{};
  bool settles_later = false;  // the parent will call Child::settle(), if there is no other need for a pidfd at once

  bool can_fail() const noexcept {
    return memory_bytes || cpu_seconds || open_files || !cpus.empty() || directory >= 0 || watch.parent != 0;
  }
};

/// Does all of `setup` to the calling process; stops at the first refusal.
Result<> apply(const ChildSetup& setup) noexcept;

/// An open directory to hand to ChildSetup or spawn_child.
Result<Fd> open_directory(const char* path) noexcept;

/// Forks. The child applies `setup` and calls live(with, blocked), still with all signals blocked: when it is ready for
/// those that have come meanwhile it calls blocked.restore(). It should not return, and ends by _exit(0) if it does. A
/// call and no return into the frames of the parent: the fewer pages a child touches, the sooner it runs.
/// `deadline` bounds the wait for a child that has something to set up: ETIMEDOUT, and it is killed.
Result<Child> fork_child(const ChildSetup& setup, void (*live)(void* with, const AllSignalsBlocked& blocked),
                         void* with, Deadline deadline = Deadline::never()) noexcept;

/// The same for anything that can be called with nothing, signals as they were before.
template <class Live>
Result<Child> fork_child(const ChildSetup& setup, Live live) noexcept {
  const auto call = [](void* with, const AllSignalsBlocked& blocked) {
    blocked.restore();
    (*static_cast<Live*>(with))();
  };
  return fork_child(setup, call, &live);
}

/// What will tell the end of a child on a kernel without pidfds: a pipe that the child holds. Elsewhere, empty ends.
Result<PipeEnds> make_end() noexcept;

/// Executes `path` in a new process that inherits `inherited` (under the same number) besides what is not
/// close-on-exec, and starts in `directory` if that is >= 0. `arguments` and `environment` end with a null pointer.
/// `end`: from make_end(), by a caller who wants to tell the image the number of end.write, so that it makes that
/// close-on-exec.
Result<Child> spawn_child(const char* path, char* const* arguments, char* const* environment,
                          std::span<const int> inherited, int directory, PipeEnds end = {}) noexcept;

}  // namespace multiproc::os
