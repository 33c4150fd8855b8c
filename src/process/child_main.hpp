// SPDX-License-Identifier: MIT
//
// src/process/child_main.hpp: the life of a child from its target to its end.
#pragma once

#include <multiproc/os/signal.hpp>
#include <multiproc/process/task.hpp>

namespace multiproc::detail {

/// Writes out what stdio and the standard streams hold: before a start, so that no child has it too and all output is
/// in the order of time; and at the end of a child.
void flush_all() noexcept;

/// The rest of a forked child's life: runs the target and ends. An exception that comes out of the target is told on
/// stderr, in one piece, and makes exit code 1. None of the handlers and destructors of the parent run. The signals
/// that came since the fork find it ready.
[[noreturn]] void live_forked(Task& task, const os::AllSignalsBlocked& blocked) noexcept;

/// How it ends: waits for its own children, flushes, and leaves without handlers and destructors.
[[noreturn]] void end_forked(int code) noexcept;

/// The rest of a spawned child's life: the same, but that it ends as any program does.
[[noreturn]] void live_spawned(Task& task) noexcept;

}  // namespace multiproc::detail
