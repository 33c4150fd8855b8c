// SPDX-License-Identifier: MIT
//
// multiproc/os/poll.hpp: poll(2) under a Deadline; interrupted waits go on with what is left.
#pragma once

#include <span>

#include <multiproc/deadline.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc::os {

struct PollItem {
  int fd = -1;  // -1: skipped, never ready and never broken
  bool wants_read = true;
  bool wants_write = false;
  bool ready = false;   // set by poll_all: what was wanted is possible, or the peer is gone
  bool broken = false;  // set by poll_all: `fd` is not an open descriptor
};

/// Waits until at least one item is ready or broken, or the deadline passes. Returns how many are; 0: deadline.
Result<std::size_t> poll_all(std::span<PollItem> items, Deadline deadline) noexcept;

/// True when `fd` is readable (or at its end) before the deadline. A bad descriptor is EBADF; -1 is none at all, for
/// which only the deadline is waited.
Result<bool> wait_readable(int fd, Deadline deadline) noexcept;

/// The same for writing.
Result<bool> wait_writable(int fd, Deadline deadline) noexcept;

}  // namespace multiproc::os
