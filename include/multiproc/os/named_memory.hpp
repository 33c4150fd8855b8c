// SPDX-License-Identifier: MIT
//
// multiproc/os/named_memory.hpp: memory that unrelated processes find by a name: shm_open(3), shm_unlink(3).
//
// On Linux a name is a file of /dev/shm, a tmpfs with a size of its own (64 MiB in many containers). The kernel lets a
// file there grow beyond the room that is left and kills with SIGBUS whoever touches what isn't there: so the space is
// reserved when the block is made. A name stays until somebody removes it, whoever dies. Such memory can't be sealed:
// any process that may open it may also shrink it, and what then touches the end dies of SIGBUS.
#pragma once

#include <cstddef>
#include <cstdint>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc::os {

/// A new block of `size` bytes (> 0) called `name`, zeroed, all of it reserved, for this user alone (mode 0600).
/// EEXIST: the name is taken; ENAMETOOLONG; EINVAL: no name, or a slash in it; ENOSPC or ENOMEM: no room; EFBIG: above
/// RLIMIT_FSIZE (without the SIGXFSZ). What is refused leaves no name behind. Killed in the middle it leaves the name
/// with 0 bytes. Signals wait meanwhile (about 0.3 ms a MiB).
Result<Fd> create_named(const char* name, std::size_t size) noexcept;

/// The block called `name`, to read and to write. ENOENT, ENAMETOOLONG, EACCES (another user's). It may have 0 bytes:
/// its creator has not come to giving it a size, or died before.
Result<Fd> open_named(const char* name) noexcept;

/// Reserves the `size` bytes that a block has by now: who made it by ftruncate alone, as CPython does, has left that to
/// the first touch, which is a SIGBUS when there is no room. Again: nothing. ENOSPC or ENOMEM: no room. Where the file
/// can't be reserved (no right to write, a file system that does not know how) it is left as it is. Signals wait.
Result<> reserve_existing(int memory, std::size_t size) noexcept;

/// What is called `name` now. ENOENT, EACCES.
Result<MemoryInfo> look_at_named(const char* name) noexcept;

/// Takes the name away; the memory goes with its last descriptor and mapping. ENOENT, EACCES (another user's).
Result<> unlink_named(const char* name) noexcept;

/// How much there is, and how much of it is free, in bytes: for the texts of errors.
struct Room {
  std::uint64_t total = 0;  // 0: without a bound
  std::uint64_t free = 0;
};

/// Room for named memory: that of /dev/shm.
Result<Room> room_for_named() noexcept;

/// Room for all other: the machine's memory and swap. A cgroup may allow less.
Result<Room> room_in_machine() noexcept;

}  // namespace multiproc::os
