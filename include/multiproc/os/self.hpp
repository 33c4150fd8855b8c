// SPDX-License-Identifier: MIT
//
// multiproc/os/self.hpp: what this process is: its threads, its CPUs, its image on disk.
#pragma once

#include <csignal>  // pid_t
#include <string>

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

/// A path that executes the image of this process, even after the file was deleted or replaced.
std::string own_image();

/// The environment of this process: "NAME=value" strings, then a null pointer.
char** environment() noexcept;

/// Ends the process at once: no handlers, no destructors, no flush, but for the counters of a coverage build.
[[noreturn]] void exit_now(int code) noexcept;

/// Names the calling process for ps and /proc/self/comm; 15 bytes of it are kept.
void name_process(const char* name) noexcept;

}  // namespace multiproc::os
