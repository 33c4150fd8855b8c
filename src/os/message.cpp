// SPDX-License-Identifier: MIT

#include <multiproc/os/message.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <multiproc/os/poll.hpp>
#include <multiproc/os/socket.hpp>

#include "os/fault.hpp"
#include "os/transfer.hpp"

namespace multiproc::os {

namespace {

// Without a deadline the call waits by itself. Should it not, although it may, somebody made the socket non-blocking
// (an event loop), and poll(2) waits.
int flags_for(Deadline deadline) noexcept {
  return deadline.is_never() ? 0 : MSG_DONTWAIT;
}

bool is_gone(int error) noexcept {
  return error == EPIPE || error == ECONNRESET || error == ENOTCONN || error == ECONNREFUSED;
}

template <class Byte>
std::size_t to_iovec(std::span<const std::span<Byte>> parts, iovec* out) noexcept {
  std::size_t count = 0;
  for (const std::span<Byte> part : parts.first(std::min(parts.size(), kMostParts))) {
    if (!part.empty()) out[count++] = {const_cast<std::byte*>(part.data()), part.size()};
  }
  return count;
}

}  // namespace

Result<std::array<Fd, 2>> make_packet_pair() noexcept {
  return make_pair_of(SOCK_SEQPACKET);
}

Result<std::size_t> send_message(int socket, std::span<const std::span<const std::byte>> parts,
                                 std::span<const int> fds, Deadline deadline) noexcept {
  const int flags = flags_for(deadline) | MSG_NOSIGNAL;
  if (parts.size() == 1 && fds.empty()) {  // send(2) is the quicker one
    const auto sent = transfer(
        "sendmsg", [&] { return ::send(socket, parts[0].data(), parts[0].size(), flags); }, wait_writable, socket,
        deadline);
    if (!sent && is_gone(sent.error())) [[unlikely]]
      return Failure{"sendmsg", EPIPE};
    return sent;
  }
  iovec ranges[kMostParts];
  msghdr message{};
  message.msg_iov = ranges;
  message.msg_iovlen = to_iovec(parts, ranges);
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kMaxFdsPerMessage * sizeof(int))];
  if (!fds.empty()) {
    if (fds.size() > kMaxFdsPerMessage) return Failure{"sendmsg", EINVAL};
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    std::memset(control, 0, message.msg_controllen);
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(rights), fds.data(), fds.size_bytes());
  }
  const auto sent = transfer(
      "sendmsg", [&] { return ::sendmsg(socket, &message, flags); }, wait_writable, socket, deadline);
  if (!sent && is_gone(sent.error())) return Failure{"sendmsg", EPIPE};
  return sent;
}

Result<Received> receive_message(int socket, std::span<const std::span<std::byte>> parts, std::vector<Fd>& fds,
                                 Deadline deadline) {
  iovec ranges[kMostParts];
  alignas(cmsghdr) std::byte control[CMSG_SPACE(kMaxFdsPerMessage * sizeof(int))];
  msghdr message{};
  message.msg_iov = ranges;
  message.msg_iovlen = to_iovec(parts, ranges);
  message.msg_control = control;
  const int flags = flags_for(deadline) | MSG_CMSG_CLOEXEC;
  const std::size_t before = fds.size();
  bool was_reset = false;
  for (;;) {
    message.msg_controllen = sizeof control;
    const auto got = transfer(
        "recvmsg", [&] { return ::recvmsg(socket, &message, flags); }, wait_readable, socket, deadline);
    if (!got) {
      // The other end was closed before it had received everything: said once, before what it sent itself.
      if (got.error() == ECONNRESET && !was_reset) {
        was_reset = true;
        continue;
      }
      if (is_gone(got.error())) return Received{};
      return got.failure();
    }
    Received received{got.value(), (message.msg_flags & MSG_TRUNC) != 0, (message.msg_flags & MSG_CTRUNC) != 0};
    if (message.msg_controllen == 0) return received;
    for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr; part = CMSG_NXTHDR(&message, part)) {
      if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      int numbers[kMaxFdsPerMessage];
      std::memcpy(numbers, CMSG_DATA(part), count * sizeof(int));
      std::size_t owned = 0;
      try {
        fds.reserve(fds.size() + count);
      } catch (...) {
        while (owned < count) Fd(numbers[owned++]).reset();
        throw;
      }
      while (owned < count) fds.emplace_back(numbers[owned++]);
    }
    for (Fd& fd : std::span(fds).subspan(before)) {
      Result<Fd> ours = above_stdio(std::move(fd));
      if (!ours) return ours.failure();
      fd = std::move(ours).value();
    }
    return received;
  }
}

Result<std::size_t> unreceived_bytes(int socket) noexcept {
  if (const int error = fault::injected("ioctl")) return Failure{"ioctl", error};
  int bytes = 0;
  if (::ioctl(socket, SIOCOUTQ, &bytes) != 0) return Failure{"ioctl", errno};
  return static_cast<std::size_t>(bytes);
}

Result<> shut_down(int socket, bool sending, bool receiving) noexcept {
  if (!sending && !receiving) return {};
  if (const int error = fault::injected("shutdown")) return Failure{"shutdown", error};
  const int how = sending && receiving ? SHUT_RDWR : sending ? SHUT_WR : SHUT_RD;
  if (::shutdown(socket, how) != 0) return Failure{"shutdown", errno};
  return {};
}

}  // namespace multiproc::os
