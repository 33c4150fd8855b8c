// SPDX-License-Identifier: MIT
//
// src/ipc/carrier.hpp: more descriptors than one message of the kernel takes, as one: they wait in a socket.
//
// So a message stays one packet, which comes as a whole or not at all. What waits in a carrier that nobody unloads is
// closed by the kernel with it.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include <multiproc/os/fd.hpp>

namespace multiproc::detail {

/// Duplicates of `fds`, in a carrier. SystemError: no descriptor, or too many of them.
os::Fd load_carrier(std::span<const os::Fd> fds);

/// All `count` of them. SystemError with EMFILE: there is no room for them here, and they are closed. DecodeError: they
/// are fewer.
std::vector<os::Fd> unload_carrier(const os::Fd& carrier, std::size_t count);

}  // namespace multiproc::detail
