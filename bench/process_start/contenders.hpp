// SPDX-License-Identifier: MIT
//
// process_start/contenders.hpp: who takes part. Each function starts a task that does nothing, waits for its end, and
// answers its exit code: 0, or the run has failed.
#pragma once

namespace process_start {

int multiproc_fork();
int multiproc_spawn();

// The floors: the same system calls with nothing around them. What is executed is this program, which ends at once at
// the head of main() when its argument is kEndAtOnce: loader, static constructors and exit as in a spawned child.
inline constexpr const char* kEndAtOnce = "--end-at-once";
int raw_fork();
int raw_fork_unhandled();  // _Fork(): fork handlers, which any library may register, are passed over
int raw_posix_spawn();
int raw_vfork_exec();

int std_thread();

}  // namespace process_start
