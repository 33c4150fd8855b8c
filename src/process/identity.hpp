// SPDX-License-Identifier: MIT
//
// src/process/identity.hpp: what a process of this library knows about itself.
#pragma once

#include <csignal>
#include <memory>
#include <string>

namespace multiproc::detail {

struct Identity {
  std::string name = "MainProcess";
  std::string path;                  // "1:2": the second child of the first child; "" in the first process
  pid_t parent = 0;                  // 0: not started by this library
  std::string parent_name;           //
  bool is_forked = false;            // by this library
  const Identity* before = nullptr;  // whose place it takes: somebody may hold that still, and it is no leak

  /// The path of a child, the `number`th that this process names.
  std::string child_path(unsigned number) const;
};

/// The calling process's own.
Identity& identity() noexcept;

/// Whether this is the main thread, whose stack and thread_local objects last as long as the process, and in all that
/// are forked from it too.
bool is_noted_here() noexcept;

/// Makes `mine` the identity of the calling process, for good: unless is_noted_here() it stands in the heap.
/// Async-signal-safe.
void become(Identity* mine) noexcept;

}  // namespace multiproc::detail
