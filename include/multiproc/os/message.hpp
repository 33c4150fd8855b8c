// SPDX-License-Identifier: MIT
//
// multiproc/os/message.hpp: sendmsg(2) and recvmsg(2): several ranges of bytes and descriptors in one call, on sockets
// that keep messages apart (SOCK_SEQPACKET, unix(7)) and on those that do not.
//
// Nothing here raises SIGPIPE, every wait is bounded by a Deadline, and what is interrupted goes on. Without a deadline
// there is one system call, which waits by itself. Descriptors arrive close-on-exec and above 2.
//
// Death       A packet is in the receiver's queue or it is not: a sender that is killed leaves no part of one.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <vector>

#include <multiproc/deadline.hpp>
#include <multiproc/os/fd.hpp>

namespace multiproc::os {

/// Two connected AF_UNIX sockets of type SOCK_SEQPACKET.
Result<std::array<Fd, 2>> make_packet_pair() noexcept;

/// The most ranges of bytes in one call here.
inline constexpr std::size_t kMostParts = 4;

/// Sends `parts`, one after the other, with duplicates of `fds`, at most kMaxFdsPerMessage of them (socket.hpp). A
/// packet goes as a whole or not at all; of a stream as much as there is room for, and the descriptors with the first
/// byte. ETIMEDOUT; EPIPE: the other end is gone; EMSGSIZE: larger than SO_SNDBUF allows a packet to be; ETOOMANYREFS:
/// too many descriptors are under way.
Result<std::size_t> send_message(int socket, std::span<const std::span<const std::byte>> parts,
                                 std::span<const int> fds, Deadline deadline) noexcept;

struct Received {
  std::size_t size = 0;  // bytes; 0: the other end is gone, and nothing is left of what it sent
  bool cut = false;      // a packet that was longer than there was room for; the rest is gone
  bool fds_cut = false;  // there was no room for all descriptors (EMFILE); the rest is closed
};

/// Receives one packet, or what a stream has, into `parts`, which are filled one after the other. Descriptors that came
/// with it are appended to `fds`. ETIMEDOUT.
Result<Received> receive_message(int socket, std::span<const std::span<std::byte>> parts, std::vector<Fd>& fds,
                                 Deadline deadline);

/// How much of what was sent through `socket` the other end has not received yet, as the kernel counts it: 0 is none.
Result<std::size_t> unreceived_bytes(int socket) noexcept;

/// No more sending, or no more receiving, through `socket`, in whichever process: the other end is told.
Result<> shut_down(int socket, bool sending, bool receiving) noexcept;

}  // namespace multiproc::os
