// SPDX-License-Identifier: MIT
//
// multiproc/os/self.hpp: what this process is: its threads, its CPUs, its image on disk.
#pragma once

#include <csignal>  // pid_t
#include <string>
#include <vector>

namespace multiproc::os {

pid_t self_pid() noexcept;
pid_t parent_pid() noexcept;

/// Whether the calling thread is the one that runs main().
bool on_main_thread() noexcept;

/// The threads of this process that have not begun to end (a joined thread can be seen in /proc for a moment more).
/// 1 without a look at /proc where glibc knows it; 0: more than one, their number is not to be had.
unsigned thread_count() noexcept;

/// CPUs that this process may keep busy: its affinity mask, cut to the quota of its cgroups (v2 and v1), rounded up;
/// at least 1. Reads /proc and /sys: not for hot paths.
unsigned usable_cpus();

/// What executes the image of this process once more.
struct OwnImage {
  /// Empty: there is no way. The program was run by the dynamic loader (`ld.so program`), and /proc can't be read.
  std::string path;
  /// Where the program was run by the loader: "ld.so", its options, the program. They stand in place of the program's
  /// argv[0], which the new process finds to be the last of them. Otherwise empty.
  std::vector<std::string> loader;
};

/// /proc/self/exe, which is the image even after its file was deleted or replaced. Without /proc, and for what the
/// loader is to run, it is the path by which the program was started, wherever this process has gone since. (The
/// loader's options stay as they were given: a relative folder in them is one of the new process.)
OwnImage own_image();

/// The environment of this process: "NAME=value" strings, then a null pointer.
char** environment() noexcept;

/// Ends the process at once: no handlers, no destructors, no flush, but for the counters of a coverage build.
[[noreturn]] void exit_now(int code) noexcept;

/// Names the calling process for ps and /proc/self/comm; 15 bytes of it are kept.
void name_process(const char* name) noexcept;

}  // namespace multiproc::os
