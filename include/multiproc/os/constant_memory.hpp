// SPDX-License-Identifier: MIT
//
// multiproc/os/constant_memory.hpp: unnamed memory that holds what it was born with: a memfd, written and then sealed.
//
// Nobody can map it for writing or write to it, whoever gets its descriptor; its size is sealed too. It goes with its
// last descriptor and mapping. Map it with map_shared(fd, size, false).
#pragma once

#include <cstddef>
#include <span>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc::os {

/// A new memfd with a copy of `bytes` (not none). `label` is what /proc shows for it. ENOSYS or EPERM where memfd is
/// refused, EFBIG above RLIMIT_FSIZE (without the SIGXFSZ), ENOSPC, ENOMEM. Where the kernel has no seal against
/// writing (before Linux 5.1) it goes without.
Result<Fd> make_constant(const char* label, std::span<const std::byte> bytes) noexcept;

}  // namespace multiproc::os
