// SPDX-License-Identifier: MIT

#include <multiproc/os/socket.hpp>

#include <algorithm>
#include <cerrno>

#include <sys/socket.h>
#include <unistd.h>

#include <multiproc/os/message.hpp>
#include <multiproc/os/poll.hpp>

#include "os/fault.hpp"
#include "os/transfer.hpp"

namespace multiproc::os {

Result<std::array<Fd, 2>> make_socket_pair() noexcept {
  return make_pair_of(SOCK_STREAM);
}

Result<pid_t> peer_pid(int socket) noexcept {
  if (const int error = fault::injected("getsockopt")) return Failure{"getsockopt", error};
  ucred peer{};
  socklen_t size = sizeof peer;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return Failure{"getsockopt", errno};
  return peer.pid;
}

Result<std::size_t> send_some(int socket, std::span<const std::byte> bytes, Deadline deadline) noexcept {
  return transfer(
      "send", [&] { return ::send(socket, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT); }, wait_writable,
      socket, deadline);
}

Result<> send_all(int socket, std::span<const std::byte> bytes, Deadline deadline) noexcept {
  while (!bytes.empty()) {
    const auto sent = send_some(socket, bytes, deadline);
    if (!sent) return sent.failure();
    bytes = bytes.subspan(sent.value());
  }
  return {};
}

Result<std::size_t> receive_some(int socket, std::span<std::byte> into, Deadline deadline) noexcept {
  return transfer(
      "recv", [&] { return ::recv(socket, into.data(), into.size(), MSG_DONTWAIT); }, wait_readable, socket, deadline);
}

Result<> receive_all(int socket, std::span<std::byte> into, Deadline deadline) noexcept {
  while (!into.empty()) {
    const auto got = receive_some(socket, into, deadline);
    if (!got) return got.failure();
    if (got.value() == 0) return Failure{"recv", ECONNRESET};
    into = into.subspan(got.value());
  }
  return {};
}

Result<> send_fds(int socket, std::span<const int> fds, Deadline deadline) noexcept {
  constexpr std::byte kMark{'F'};
  const std::span<const std::byte> mark(&kMark, 1);
  while (!fds.empty()) {
    const auto batch = fds.first(std::min(fds.size(), kMaxFdsPerMessage));
    const auto sent = send_message(socket, {&mark, 1}, batch, deadline);
    if (!sent) return sent.failure();
    fds = fds.subspan(batch.size());
  }
  return {};
}

Result<std::vector<Fd>> receive_fds(int socket, std::size_t count, Deadline deadline) {
  std::vector<Fd> received;
  received.reserve(count);
  while (received.size() < count) {
    std::byte byte{};
    const std::span<std::byte> mark(&byte, 1);
    const std::size_t before = received.size();
    const auto got = receive_message(socket, {&mark, 1}, received, deadline);
    if (!got) return got.failure();
    if (got.value().size == 0) return Failure{"recvmsg", ECONNRESET};
    // The kernel installs as many as there is room for, then cuts the list and says so (unix(7)).
    if (got.value().fds_cut) return Failure{"recvmsg", EMFILE};
    if (received.size() == before || received.size() > count) return Failure{"recvmsg", EPROTO};
  }
  return received;
}

}  // namespace multiproc::os
