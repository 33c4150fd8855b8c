// SPDX-License-Identifier: MIT

#include <multiproc/os/socket.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <sys/socket.h>
#include <unistd.h>

#include <multiproc/os/poll.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

namespace {

// Tries `call` without blocking; waits with `wait` while it would block. One place for EINTR, EAGAIN and the deadline.
template <class Call, class Wait>
Result<std::size_t> transfer(const char* name, Call call, Wait wait, int socket, Deadline deadline) noexcept {
  for (;;) {
    int error = fault::injected(name);
    if (error == 0) {
      const ssize_t moved = call();
      if (moved >= 0) return static_cast<std::size_t>(moved);
      error = errno;
    }
    if (error == EINTR) continue;
    if (error != EAGAIN) return Failure{name, error};
    const auto ready = wait(socket, deadline);
    if (!ready) return ready.failure();
    if (!ready.value()) return Failure{name, ETIMEDOUT};
  }
}

Result<std::size_t> send_message(int socket, const msghdr& message, Deadline deadline) noexcept {
  return transfer(
      "sendmsg", [&] { return ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT); }, wait_writable, socket,
      deadline);
}

}  // namespace

Result<std::array<Fd, 2>> make_socket_pair() noexcept {
  if (const int error = fault::injected("socketpair")) return Failure{"socketpair", error};
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return Failure{"socketpair", errno};
  Result<Fd> first = above_stdio(Fd{ends[0]});
  Result<Fd> second = above_stdio(Fd{ends[1]});
  if (!first) return first.failure();
  if (!second) return second.failure();
  return std::array<Fd, 2>{std::move(first.value()), std::move(second.value())};
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
  while (!fds.empty()) {
    const auto batch = fds.first(std::min(fds.size(), kMaxFdsPerMessage));
    std::byte mark{'F'};
    iovec payload{&mark, 1};
    alignas(cmsghdr) std::byte control[CMSG_SPACE(kMaxFdsPerMessage * sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &payload;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(batch.size_bytes());
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(batch.size_bytes());
    std::memcpy(CMSG_DATA(rights), batch.data(), batch.size_bytes());
    const auto sent = send_message(socket, message, deadline);
    if (!sent) return sent.failure();
    fds = fds.subspan(batch.size());
  }
  return {};
}

Result<std::vector<Fd>> receive_fds(int socket, std::size_t count, Deadline deadline) {
  std::vector<Fd> received;
  received.reserve(count);
  while (received.size() < count) {
    std::byte mark{};
    iovec payload{&mark, 1};
    alignas(cmsghdr) std::byte control[CMSG_SPACE(kMaxFdsPerMessage * sizeof(int))]{};
    msghdr message{};
    message.msg_iov = &payload;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    const auto got = transfer(
        "recvmsg", [&] { return ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT); }, wait_readable, socket,
        deadline);
    if (!got) return got.failure();
    if (got.value() == 0) return Failure{"recvmsg", ECONNRESET};
    const std::size_t before = received.size();
    std::array<Fd, kMaxFdsPerMessage> arrived;  // owned before anything can fail
    std::size_t arrived_count = 0;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
      if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t in_part = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < in_part; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
        arrived[arrived_count++].reset(fd);
      }
    }
    for (Fd& fd : std::span(arrived).first(arrived_count)) {
      Result<Fd> ours = above_stdio(std::move(fd));
      if (!ours) return ours.failure();
      received.push_back(std::move(ours.value()));
    }
    // The kernel installs as many as there is room for, then cuts the list and says so (unix(7)).
    if ((message.msg_flags & MSG_CTRUNC) != 0) return Failure{"recvmsg", EMFILE};
    if (received.size() == before || received.size() > count) return Failure{"recvmsg", EPROTO};
  }
  return received;
}

}  // namespace multiproc::os
