// SPDX-License-Identifier: MIT
//
// src/process/exit_stop.hpp: std::exit() in a forked child, which must not run its parent's handlers and destructors.
//
// One handler stands in front of them all, ends the forked child and doesn't return; in other processes it does
// nothing. It is put there by the parent, before the fork: glibc's list of handlers has a lock that no fork takes, and
// a child that asked for it might wait for ever for a thread that it does not have.
#pragma once

namespace multiproc::detail {

/// Before each fork. What other threads register between this and the fork runs in a child that calls std::exit().
void put_exit_stop_in_front() noexcept;

/// In the forked child. For ThreadSanitizer alone, whose __cxa_atexit forgets the exit code; it holds no lock for long.
void stop_exit_here() noexcept;

}  // namespace multiproc::detail
