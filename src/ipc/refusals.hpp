// SPDX-License-Identifier: MIT
//
// src/ipc/refusals.hpp: what a Connection says when it can't go on, in words.
#pragma once

#include <cstddef>

#include <multiproc/os/result.hpp>

namespace multiproc::detail {

/// Of a message of `size` bytes. EPIPE: nobody has the other end.
[[noreturn]] void refuse_send(os::Failure failure, std::size_t size);
[[noreturn]] void refuse_receive(os::Failure failure);
/// The descriptors of a message found no room in this process.
[[noreturn]] void refuse_fds();
[[noreturn]] void throw_end_of_stream();

}  // namespace multiproc::detail
