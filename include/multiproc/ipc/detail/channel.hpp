// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/channel.hpp: what carries the messages of a Connection. ../connection.hpp is the one to include.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include <multiproc/deadline.hpp>
#include <multiproc/ipc/detail/bytes.hpp>
#include <multiproc/ipc/detail/decoder.hpp>
#include <multiproc/ipc/detail/encoder.hpp>
#include <multiproc/os/fd.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc::detail {

/// The fingerprint of a message of send_bytes().
inline constexpr std::uint64_t kRawBytes = 0;

/// A block of shared memory that a large message goes through. Its sender takes it, fills it and sends its descriptor;
/// its receiver reads it and gives it back, by a word in the block itself. Whoever dies with it leaves it to the
/// kernel.
class Block {
 public:
  Block() noexcept = default;
  explicit Block(std::shared_ptr<Segment> segment) noexcept : segment_(std::move(segment)) {}
  Block(Block&& other) noexcept = default;
  Block& operator=(Block&& other) noexcept {
    std::swap(segment_, other.segment_);
    return *this;
  }
  ~Block() {
    if (segment_) give_back();
  }

  explicit operator bool() const noexcept { return segment_ != nullptr; }
  std::span<std::byte> bytes() const noexcept;
  const std::shared_ptr<Segment>& segment() const noexcept { return segment_; }

  /// It is the other side's now.
  void release() noexcept { segment_.reset(); }

 private:
  void give_back() noexcept;

  std::shared_ptr<Segment> segment_;
};

/// Where a message is encoded: in a little memory of its own, or at once in the block that it will go in.
class Room {
 public:
  Room() noexcept {}
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  ~Room() = default;

  std::span<std::byte> bytes() noexcept { return block ? block.bytes() : std::span<std::byte>(small_); }

  Block block;

 private:
  std::array<std::byte, 1024> small_;  // not filled with zeros
};

struct Outgoing {
  std::uint64_t fingerprint = kRawBytes;
  std::span<const std::span<const std::byte>> parts;
  std::span<const os::Fd> fds;

  std::size_t size() const noexcept {
    std::size_t sum = 0;
    for (const auto& part : parts) sum += part.size();
    return sum;
  }
};

/// Memory that a thread receives small messages in, one after the other.
struct GiveScratchBack {
  void operator()(std::byte* scratch) const noexcept;
};
using Scratch = std::unique_ptr<std::byte[], GiveScratchBack>;

/// A message that was received, and the memory that it lies in.
struct Message {
  std::uint64_t fingerprint = kRawBytes;
  std::span<const std::byte> bytes;
  std::vector<os::Fd> fds;
  Scratch scratch;
  Bytes own;
  Block block;
};

[[noreturn]] void throw_type_mismatch(Message& message, std::string_view wanted);

/// Which end of which connection this is, among all that were ever made; the same in every process that has it.
struct EndName {
  std::uint64_t connection = 0;
  bool is_second = false;

  /// New names of two ends that are connected.
  static std::array<EndName, 2> make_pair() noexcept;
  bool is_opposite(const EndName& other) const noexcept {
    return connection == other.connection && is_second != other.is_second;
  }
};

/// Carries messages between two ends. Used by any number of threads and forked children at once. A list has all that
/// are in this process.
class Channel {
 public:
  Channel(os::Fd socket, EndName name, bool receives, bool sends);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  virtual ~Channel();

  /// -1: this is the copy of a forked child to which it was not given.
  int socket() const noexcept { return socket_.get(); }
  bool receives() const noexcept { return receives_; }
  bool sends() const noexcept { return sends_; }
  const EndName& name() const noexcept { return name_; }

  /// Where about `size` bytes are to be encoded. False: the deadline passed.
  virtual bool make_room(Room& room, std::size_t size, Deadline deadline) = 0;

  /// Sends it, as a whole or not at all. False: the deadline passed. What lies in the room's block goes as it is.
  virtual bool send(const Outgoing& message, Room* room, Deadline deadline) = 0;

  /// The next message, into an empty one. False: the deadline passed.
  virtual bool receive(Message& message, Deadline deadline) = 0;

  /// The same, which is one of send_bytes(), into `buffer`; how many bytes, which may be more than there was room for:
  /// then all of them are in `message`, as is every message of another kind.
  virtual std::optional<std::size_t> receive_into(std::span<std::byte> buffer, Message& message, Deadline deadline) = 0;

  /// For Travel<Connection>.
  virtual void travel(Encoder& to) const = 0;
  static std::unique_ptr<Channel> arrive(Decoder& from);

 private:
  friend class Given;

  os::Fd socket_;
  const EndName name_;
  const bool receives_;
  const bool sends_;
  bool is_given_ = false;  // see Given
  Channel* previous_ = nullptr;
  Channel* next_ = nullptr;
};

struct ConnectionMaker;  // makes Connections of Channels
class Given;             // given.hpp

}  // namespace multiproc::detail
