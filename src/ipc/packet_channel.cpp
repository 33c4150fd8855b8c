// SPDX-License-Identifier: MIT

#include "ipc/packet_channel.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include <multiproc/error.hpp>
#include <multiproc/ipc/connection.hpp>
#include <multiproc/os/message.hpp>
#include <multiproc/os/result.hpp>
#include <multiproc/os/socket.hpp>

#include "ipc/carrier.hpp"
#include "ipc/refusals.hpp"

namespace multiproc::detail {

namespace {

// The beginning of every packet.
struct PacketHead {
  static constexpr std::uint16_t kMagic = 0x706d;  // "mp"
  static constexpr std::uint8_t kInBlock = 1;      // the first descriptor is a block, where the message lies
  static constexpr std::uint8_t kCarried = 2;      // the other descriptors wait in a carrier, which is the last

  std::uint64_t fingerprint = kRawBytes;
  std::uint32_t fds = 0;  // of the message itself
  std::uint16_t magic = kMagic;
  std::uint8_t how = 0;
  std::uint8_t unused = 0;
};
static_assert(sizeof(PacketHead) == 16);

// Up to here a copy through the kernel costs no more than a block does.
constexpr std::size_t kMostInPacket = std::size_t{32} << 10;
constexpr std::size_t kMostFds = os::kMaxFdsPerMessage - 2;  // besides a block and a carrier

// Up to here one copy more is cheaper than one range of bytes more in the kernel's call.
constexpr std::size_t kSmall = 1024;

// One for each thread; who needs another meanwhile gets it from the heap.
thread_local std::unique_ptr<std::byte[]> spare_scratch;

Scratch take_scratch() {
  if (spare_scratch) return Scratch(spare_scratch.release());
  return Scratch(new std::byte[sizeof(PacketHead) + kMostInPacket]);
}

[[noreturn]] void throw_no_message() {
  throw DecodeError(
      "what was received is no message of a Connection: somebody wrote to its descriptor by other means. The "
      "connection can be used on");
}

}  // namespace

void GiveScratchBack::operator()(std::byte* scratch) const noexcept {
  std::unique_ptr<std::byte[]> mine(scratch);
  if (!spare_scratch) spare_scratch = std::move(mine);
}

bool PacketChannel::make_room(Room& room, std::size_t size, Deadline deadline) {
  if (size <= kMostInPacket) return true;
  auto block = blocks_.take(size, socket(), deadline);
  if (!block) return false;
  room.block = std::move(*block);
  return true;
}

// Head and message in one piece.
bool PacketChannel::send_small(const Outgoing& message, std::size_t size, Deadline deadline) {
  PacketHead head;
  head.fingerprint = message.fingerprint;
  std::byte together[sizeof head + kSmall];
  std::memcpy(together, &head, sizeof head);
  std::size_t used = sizeof head;
  for (const auto& part : message.parts) {
    if (part.empty()) continue;
    std::memcpy(together + used, part.data(), part.size());
    used += part.size();
  }
  const std::span<const std::byte> packet(together, used);
  const auto sent = os::send_message(socket(), {&packet, 1}, {}, deadline);
  if (sent) [[likely]]
    return true;
  if (sent.error() == ETIMEDOUT) return false;
  refuse_send(sent.failure(), size);
}

// `block`: the message lies there, and the parts have gone into it.
bool PacketChannel::send_packet(const Outgoing& message, const Block* block, std::size_t size, Deadline deadline) {
  PacketHead head;
  head.fingerprint = message.fingerprint;
  head.fds = static_cast<std::uint32_t>(message.fds.size());
  std::array<int, os::kMaxFdsPerMessage> fds;
  std::size_t count = 0;
  if (block != nullptr) {
    head.how |= PacketHead::kInBlock;
    fds[count++] = block->segment()->fd();
  }
  os::Fd carrier;
  if (message.fds.size() > kMostFds) {
    head.how |= PacketHead::kCarried;
    carrier = load_carrier(message.fds);
    fds[count++] = carrier.get();
  } else {
    for (const os::Fd& fd : message.fds) fds[count++] = fd.get();
  }

  const std::uint64_t length = size;
  std::array<std::span<const std::byte>, os::kMostParts> parts;
  std::size_t used = 0;
  parts[used++] = std::as_bytes(std::span(&head, 1));
  if (block != nullptr) {
    parts[used++] = std::as_bytes(std::span(&length, 1));
  } else {
    for (const auto& part : message.parts) parts[used++] = part;
  }
  const auto sent = os::send_message(socket(), std::span(parts).first(used), std::span(fds).first(count), deadline);
  if (!sent) {
    if (sent.error() == ETIMEDOUT) return false;
    refuse_send(sent.failure(), size);
  }
  return true;
}

bool PacketChannel::send(const Outgoing& message, Room* room, Deadline deadline) {
  const std::size_t size = message.size();
  if (size <= kSmall && message.fds.empty()) return send_small(message, size, deadline);
  Block block;
  if (room != nullptr && room->block) {
    const auto there = room->block.bytes();
    // Unless what was encoded was more than its estimate, it is there already.
    if (message.parts.size() == 1 && message.parts[0].data() == there.data()) {
      if (!send_packet(message, &room->block, size, deadline)) return false;
      room->block.release();
      return true;
    }
    if (size <= there.size()) block = std::move(room->block);
  }
  if (size <= kMostInPacket) return send_packet(message, nullptr, size, deadline);
  if (!block) {
    auto taken = blocks_.take(size, socket(), deadline);
    if (!taken) return false;
    block = std::move(*taken);
  }
  std::byte* to = block.bytes().data();
  for (const auto& part : message.parts) {
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  if (!send_packet(message, &block, size, deadline)) return false;
  block.release();
  return true;
}

std::optional<std::size_t> PacketChannel::receive_into(std::span<std::byte> buffer, Message& message,
                                                       Deadline deadline) {
  message.scratch = take_scratch();
  std::byte* const scratch = message.scratch.get();
  PacketHead head;
  // A large buffer is filled by the kernel, what does not fit comes behind the head; the small one gets a copy.
  const bool is_direct = buffer.size() > kSmall;
  const std::array<std::span<std::byte>, 3> parts{std::span(scratch, sizeof head + (is_direct ? 0 : kMostInPacket)),
                                                  is_direct ? buffer : std::span<std::byte>(),
                                                  std::span(scratch + sizeof head, is_direct ? kMostInPacket : 0)};
  const auto got = os::receive_message(socket(), std::span(parts).first(is_direct ? 3 : 1), message.fds, deadline);
  if (!got) {
    if (got.error() == ETIMEDOUT) return std::nullopt;
    refuse_receive(got.failure());
  }
  const os::Received& received = got.value();
  if (received.size == 0) throw_end_of_stream();
  std::memcpy(&head, scratch, sizeof head);
  if (received.size < sizeof head || head.magic != PacketHead::kMagic || received.cut) throw_no_message();
  if (received.fds_cut) refuse_fds();

  message.fingerprint = head.fingerprint;
  std::byte* const body = scratch + sizeof head;
  std::size_t size = received.size - sizeof head;
  if ((head.how & PacketHead::kInBlock) != 0) {
    std::uint64_t length = 0;
    if (size != sizeof length || message.fds.empty()) throw_no_message();
    std::memcpy(&length, is_direct ? buffer.data() : body, sizeof length);
    message.block = blocks_.receive(std::move(message.fds.front()));
    message.fds.erase(message.fds.begin());
    if (length > message.block.bytes().size()) throw_no_message();
    size = static_cast<std::size_t>(length);
    message.bytes = message.block.bytes().first(size);
  } else if (is_direct) {
    const std::size_t in_buffer = std::min(size, buffer.size());
    const bool is_there = head.fingerprint == kRawBytes && size == in_buffer;
    if (!is_there) {  // whole, in one place
      if (size > kMostInPacket) throw_no_message();
      std::memmove(body + in_buffer, body, size - in_buffer);
      std::memcpy(body, buffer.data(), in_buffer);
      message.bytes = {body, size};
    }
  } else {
    message.bytes = {body, size};
  }
  if (head.fds != 0) [[unlikely]] {
    if ((head.how & PacketHead::kCarried) != 0) {
      if (message.fds.size() != 1) throw_no_message();
      const os::Fd carrier = std::move(message.fds.front());
      message.fds = unload_carrier(carrier, head.fds);
    }
  }
  if (message.fds.size() != head.fds) throw_no_message();
  if (!message.bytes.empty() && message.fingerprint == kRawBytes && size <= buffer.size()) {
    std::memcpy(buffer.data(), message.bytes.data(), size);
  }
  return size;
}

bool PacketChannel::receive(Message& message, Deadline deadline) {
  return receive_into({}, message, deadline).has_value();
}

void PacketChannel::travel(Encoder& to) const {
  to.attach(os::duplicate_fd(socket()).or_throw("a connection to be sent"));
  to(name().connection, name().is_second, receives(), sends());
}

std::unique_ptr<Channel> PacketChannel::arrive(Decoder& from) {
  os::Fd socket = from.take_fd();
  EndName name;
  name.connection = from.read<std::uint64_t>();
  name.is_second = from.read<bool>();
  const bool receives = from.read<bool>();
  const bool sends = from.read<bool>();
  return std::make_unique<PacketChannel>(std::move(socket), name, receives, sends);
}

}  // namespace multiproc::detail
