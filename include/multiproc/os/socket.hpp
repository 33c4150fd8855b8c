// SPDX-License-Identifier: MIT
//
// multiproc/os/socket.hpp: a connected pair of stream sockets, and sending bytes and descriptors through one.
//
// Nothing here raises SIGPIPE (MSG_NOSIGNAL), and every wait is bounded by a Deadline. Descriptors arrive
// close-on-exec (MSG_CMSG_CLOEXEC) and above 2. A peer that dies ends the stream: sending answers EPIPE, receiving 0;
// but not while another process holds a copy of its end, as the children that it forked do. Who must not wait for
// those either waits for the peer's pidfd beside the socket, and transfers with Deadline::now().
#pragma once

#include <array>
#include <csignal>  // pid_t
#include <cstddef>
#include <span>
#include <vector>

#include <multiproc/deadline.hpp>
#include <multiproc/os/fd.hpp>

namespace multiproc::os {

/// The most descriptors that one message of the kernel carries (SCM_MAX_FD, unix(7)).
inline constexpr std::size_t kMaxFdsPerMessage = 253;

/// Two connected AF_UNIX stream sockets.
Result<std::array<Fd, 2>> make_socket_pair() noexcept;

/// The process that made the pair, gone or not.
Result<pid_t> peer_pid(int socket) noexcept;

/// Sends all of `bytes`. ETIMEDOUT at the deadline, EPIPE when the peer is gone.
Result<> send_all(int socket, std::span<const std::byte> bytes, Deadline deadline) noexcept;

/// As many bytes as there is room for, waiting for the first of it; then as send_all(). Deadline::now(): does not wait.
Result<std::size_t> send_some(int socket, std::span<const std::byte> bytes, Deadline deadline) noexcept;

/// Fills all of `into`. ECONNRESET when the stream ends first, ETIMEDOUT at the deadline.
Result<> receive_all(int socket, std::span<std::byte> into, Deadline deadline) noexcept;

/// Up to into.size() bytes, waiting for the first; 0 at the end of the stream.
Result<std::size_t> receive_some(int socket, std::span<std::byte> into, Deadline deadline) noexcept;

/// Sends duplicates of `fds`, any number: as many messages as it takes, one byte of stream each. Up to
/// kMaxFdsPerMessage go all at once or not at all.
Result<> send_fds(int socket, std::span<const int> fds, Deadline deadline) noexcept;

/// Receives exactly `count` descriptors that send_fds sent. EMFILE when this process has no room for them (what had
/// arrived is closed again), EPROTO when the stream carries something else.
Result<std::vector<Fd>> receive_fds(int socket, std::size_t count, Deadline deadline);

}  // namespace multiproc::os
