// SPDX-License-Identifier: MIT
//
// support/watchdog.hpp: a time limit for every test, so that a hang is a failure with a name and not a silent machine.
//
// main.cpp installs it for every test. The limit is 60 s, times MULTIPROC_TEST_TIME_FACTOR (sanitizer builds set it).
// When it passes, the program writes the test's name, where its threads stand and which children it has, kills those
// children and their descendants, and ends with status 124. The limit is a kernel timer: a thread would be simpler,
// but a process with a thread may not fork implicitly, and the tests fork all day. Forked children inherit no timer.
#pragma once

#include <chrono>

#include <sys/types.h>

namespace support {

/// Adds the watchdog to the listeners of this program.
void install_watchdog();

/// Gives the running test another limit, counted from now, for what is long by nature. Scaled like every other.
void time_limit(std::chrono::milliseconds limit);

/// MULTIPROC_TEST_TIME_FACTOR, or 1: how much slower than usual this build is.
double time_factor();

/// `time` on a machine as slow as this build; for deadlines that must only pass when something hangs.
std::chrono::milliseconds scaled(std::chrono::milliseconds time);

/// Kills all that descends from `process`, but not itself. Async-signal-safe.
void kill_descendants(pid_t process) noexcept;

}  // namespace support
