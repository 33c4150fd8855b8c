// SPDX-License-Identifier: MIT

#include <multiproc/ipc/connection.hpp>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

#include <multiproc/ipc/pipe.hpp>
#include <multiproc/os/message.hpp>
#include <multiproc/os/poll.hpp>
#include <multiproc/os/result.hpp>

#include "ipc/packet_channel.hpp"
#include "ipc/refusals.hpp"

namespace multiproc {

namespace detail {

struct ConnectionMaker {
  static Connection make(std::unique_ptr<Channel> channel) { return Connection(std::move(channel)); }
};

namespace {

[[noreturn]] void throw_mismatch(Message& message, const std::string& text) {
  const std::size_t size = message.bytes.size();
  auto* const copy = static_cast<std::byte*>(std::malloc(std::max<std::size_t>(size, 1)));
  if (copy == nullptr) throw std::bad_alloc();
  Encoded kept{Bytes(copy, size), std::move(message.fds)};
  if (size != 0) std::memcpy(kept.bytes.data(), message.bytes.data(), size);
  throw TypeMismatch(text, message.fingerprint, std::move(kept));
}

}  // namespace

std::unique_ptr<Channel> Channel::arrive(Decoder& from) {
  return PacketChannel::arrive(from);
}

void throw_type_mismatch(Message& message, std::string_view wanted) {
  const std::string text = "recv<" + std::string(wanted) + ">: the message that arrived is ";
  throw_mismatch(message, message.fingerprint == kRawBytes
                              ? text + "one of send_bytes(): receive it by recv_bytes()"
                              : text + "of another type. It is in the exception: holds<T>(), get<T>()");
}

}  // namespace detail

namespace {

std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

void require_raw(detail::Message& message) {
  if (message.fingerprint == detail::kRawBytes) return;
  detail::throw_mismatch(
      message,
      "recv_bytes: the message that arrived is a value, sent by send(). It is in the exception: holds<T>(), get<T>()");
}

[[noreturn]] void throw_too_short(std::size_t size, std::size_t room, std::span<const std::byte> message) {
  throw BufferTooShort("a message of " + std::to_string(size) + " bytes arrived where there is room for " +
                           std::to_string(room) + ". It is in the exception: message()",
                       copy_of(message));
}

}  // namespace

detail::Channel& Connection::any() const {
  if (!channel_) throw InvalidState("Connection: it is closed, or was moved from");
  if (channel_->socket() < 0) {
    throw InvalidState(
        "Connection: it was not given to this process, which was forked with other arguments: pass it as one");
  }
  return *channel_;
}

detail::Channel& Connection::sender() const {
  detail::Channel& channel = any();
  if (!channel.sends()) throw InvalidState("Connection: this end only receives (Pipe(false): the second sends)");
  return channel;
}

detail::Channel& Connection::receiver() const {
  detail::Channel& channel = any();
  if (!channel.receives()) throw InvalidState("Connection: this end only sends (Pipe(false): the first receives)");
  return channel;
}

bool Connection::send_parts(std::uint64_t fingerprint, std::span<const std::span<const std::byte>> parts,
                            Deadline deadline) const {
  return sender().send({fingerprint, parts, {}}, nullptr, deadline);
}

std::vector<std::byte> Connection::recv_bytes(std::size_t most) const {
  auto bytes = recv_bytes(Deadline::never(), most);
  return bytes ? std::move(*bytes) : std::vector<std::byte>();
}

std::optional<std::vector<std::byte>> Connection::recv_bytes(Deadline deadline, std::size_t most) const {
  detail::Message message;
  if (!receiver().receive(message, deadline)) return std::nullopt;
  require_raw(message);
  if (message.bytes.size() > most) throw_too_short(message.bytes.size(), most, message.bytes);
  return copy_of(message.bytes);
}

std::size_t Connection::recv_bytes_into(std::span<std::byte> buffer) const {
  return recv_bytes_into(buffer, Deadline::never()).value_or(0);
}

std::optional<std::size_t> Connection::recv_bytes_into(std::span<std::byte> buffer, Deadline deadline) const {
  detail::Message message;
  const auto size = receiver().receive_into(buffer, message, deadline);
  if (!size) return std::nullopt;
  require_raw(message);
  if (*size > buffer.size()) throw_too_short(*size, buffer.size(), message.bytes);
  return *size;
}

bool Connection::poll(Deadline deadline) const {
  return os::wait_readable(receiver().socket(), deadline).or_throw("a connection");
}

int Connection::fileno() const {
  return any().socket();
}

Pipe::Pipe(bool duplex) {
  auto ends = os::make_packet_pair().or_throw("a pipe", "Close some descriptors, or raise the limit (ulimit -n).");
  if (!duplex) {
    // Each end says so to the kernel too, so that nobody waits for what can't come.
    (void)os::shut_down(ends[0].get(), true, false).or_throw("a pipe");
    (void)os::shut_down(ends[1].get(), false, true).or_throw("a pipe");
  }
  const auto names = detail::EndName::make_pair();
  using detail::PacketChannel;
  first = detail::ConnectionMaker::make(std::make_unique<PacketChannel>(std::move(ends[0]), names[0], true, duplex));
  second = detail::ConnectionMaker::make(std::make_unique<PacketChannel>(std::move(ends[1]), names[1], duplex, true));
}

}  // namespace multiproc
