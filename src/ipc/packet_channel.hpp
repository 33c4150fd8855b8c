// SPDX-License-Identifier: MIT
//
// src/ipc/packet_channel.hpp: a Channel of packets between processes of this machine, which is what a Pipe is made of.
//
// A message is one packet of a SOCK_SEQPACKET socket: the kernel keeps packets apart and whole, so any number of
// writers and readers need no lock, and one that is killed leaves nothing half done. What is too long for a packet lies
// in a block of shared memory, and its descriptor is what goes.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>

#include <multiproc/deadline.hpp>
#include <multiproc/ipc/detail/channel.hpp>
#include <multiproc/os/fd.hpp>

#include "ipc/block_pool.hpp"

namespace multiproc::detail {

class PacketChannel final : public Channel {
 public:
  using Channel::Channel;

  bool make_room(Room& room, std::size_t size, Deadline deadline) override;
  bool send(const Outgoing& message, Room* room, Deadline deadline) override;
  bool receive(Message& message, Deadline deadline) override;
  std::optional<std::size_t> receive_into(std::span<std::byte> buffer, Message& message, Deadline deadline) override;
  void travel(Encoder& to) const override;

  static std::unique_ptr<Channel> arrive(Decoder& from);

 private:
  bool send_small(const Outgoing& message, std::size_t size, Deadline deadline);
  bool send_packet(const Outgoing& message, const Block* block, std::size_t size, Deadline deadline);

  BlockPool blocks_;
};

}  // namespace multiproc::detail
