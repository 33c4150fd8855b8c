// SPDX-License-Identifier: MIT
//
// src/process/exit_stop.hpp: std::exit() in a forked child, which must not run its parent's handlers and static
// destructors.
//
// One handler stands in front of them all, ends the forked child and doesn't return; in other processes it does
// nothing. It is put there by the parent, before the fork: glibc's list of handlers has a lock that no fork takes, and
// a child that asked for it might wait for ever for a thread that it does not have. Moving it costs some page faults,
// so that a burst of starts does it once in ten milliseconds. What the parent registers in between is passed over all
// the same when the thread that runs the target calls std::exit(), which puts the handler in front once more; it runs
// if another thread of the child is the one that calls it.
//
// Out of reach: destructors of the forking thread's thread_local objects, which exit() runs before all handlers, and
// handlers of quick_exit().
#pragma once

namespace multiproc::detail {

/// Before each fork, in the thread that forks.
void put_exit_stop_in_front() noexcept;

/// In the forked child. For ThreadSanitizer alone, whose __cxa_atexit forgets the exit code; it holds no lock for long.
void stop_exit_here() noexcept;

}  // namespace multiproc::detail
