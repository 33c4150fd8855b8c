// SPDX-License-Identifier: MIT

#include "ipc/block_pool.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstdint>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/os/message.hpp>
#include <multiproc/os/self.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/sync/parking.hpp>

namespace multiproc::detail {

namespace {

// The first page of a block; the bytes begin with the second.
struct BlockHead {
  static constexpr std::uint64_t kMagic = 0x6b636f6c'62706d75;  // "umpblock"
  static constexpr std::uint32_t kVersion = 1;

  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kTaken = 1;    // by its sender, or under way, or being read
  static constexpr std::uint32_t kAwaited = 2;  // the same, and somebody sleeps until it is free

  LayoutStamp stamp;
  std::atomic<std::uint32_t> state;
};

constexpr std::size_t kHead = 4096;
constexpr std::size_t kLeast = std::size_t{128} << 10;
constexpr std::size_t kMostBlocks = 4;
constexpr std::size_t kMostBytes = std::size_t{130} << 20;  // of several, two of 64 MiB; a single one may be larger

// For all pools: their lists are touched at large messages alone, and a forked child finds them whole.
constinit os::ForkMutex mutex;
[[maybe_unused]] const bool is_enlisted = mutex.enlist();

BlockHead& head_of(const Segment& segment) noexcept {
  return *std::launder(reinterpret_cast<BlockHead*>(segment.begin()));
}

bool is_free(const Segment& segment) noexcept {
  return head_of(segment).state.load(std::memory_order_acquire) == BlockHead::kFree;
}

// A bit more than was asked for, so that messages of about one size find each other's blocks.
std::size_t capacity_for(std::size_t size) noexcept {
  if (size <= kLeast) return kLeast;
  const std::size_t step = std::max(std::bit_floor(size) / 8, std::size_t{4096});
  return (size + step - 1) / step * step;
}

std::shared_ptr<Segment> make_block(std::size_t capacity) {
  auto segment = Segment::make(kHead + capacity, "multiproc-message");
  if (segment->fd() < 0) {
    throw Unsupported(
        "a message of " + std::to_string(capacity) +
        " bytes needs shared memory, and the kernel gives none (memfd_create: a sandbox's filter?). Send smaller ones");
  }
  auto* const head = new (segment->begin()) BlockHead{{BlockHead::kMagic, BlockHead::kVersion, 0, segment->size()}, {}};
  head->state.store(BlockHead::kTaken, std::memory_order_relaxed);
  os::populate(segment->bytes());
  return segment;
}

}  // namespace

std::span<std::byte> Block::bytes() const noexcept {
  return segment_->bytes().subspan(kHead);
}

void Block::give_back() noexcept {
  std::atomic<std::uint32_t>& state = head_of(*segment_).state;
  if (state.exchange(BlockHead::kFree, std::memory_order_acq_rel) == BlockHead::kAwaited) {
    (void)unpark(state, kEverybody);
  }
}

void BlockPool::begin_anew_in_a_child(Lists& dropped) {
  const pid_t pid = os::self_pid();
  if (owner_ == pid) return;
  std::swap(lists_, dropped);
  owner_ = pid;
}

std::optional<Block> BlockPool::take(std::size_t size, int socket, Deadline deadline) {
  for (unsigned sleeps = 0;; ++sleeps) {
    Lists dropped;
    std::shared_ptr<Segment> busy;  // the one to wait for
    {
      const os::ForkLock lock(mutex);
      begin_anew_in_a_child(dropped);
      auto& made = lists_.made;
      const auto fits = [&](const std::shared_ptr<Segment>& segment) { return segment->size() - kHead >= size; };
      // The one that was free last is the one in the cache.
      for (std::size_t i = made.size(); i-- > 0;) {
        std::uint32_t state = BlockHead::kFree;
        if (fits(made[i]) && head_of(*made[i]).state.compare_exchange_strong(state, BlockHead::kTaken)) {
          return Block(made[i]);
        }
      }
      // None: those that are free are too small, and make room.
      const auto end = std::remove_if(made.begin(), made.end(), [&](std::shared_ptr<Segment>& segment) {
        if (!is_free(*segment)) return false;
        dropped.made.push_back(std::move(segment));
        return true;
      });
      made.erase(end, made.end());
      std::size_t bytes = 0;
      for (const auto& segment : made) bytes += segment->size();
      if (made.size() >= kMostBlocks || (!made.empty() && bytes + size > kMostBytes)) busy = made.front();
    }
    if (!busy) {
      auto segment = make_block(capacity_for(size));
      Block block(segment);
      const os::ForkLock lock(mutex);
      lists_.made.push_back(std::move(segment));
      return block;
    }
    if (deadline.passed()) return std::nullopt;
    std::atomic<std::uint32_t>& state = head_of(*busy).state;
    std::uint32_t taken = BlockHead::kTaken;
    state.compare_exchange_strong(taken, BlockHead::kAwaited);
    park(state, BlockHead::kAwaited, deadline, sleeps);
    if (is_free(*busy)) continue;
    // All was received, and it does not come back: whoever has it is slow, or dead. It is forgotten.
    const auto left = os::unreceived_bytes(socket);
    if (!left || left.value() != 0) continue;
    const os::ForkLock lock(mutex);
    auto& made = lists_.made;
    const auto at = std::find(made.begin(), made.end(), busy);
    if (at != made.end()) made.erase(at);
  }
}

Block BlockPool::receive(os::Fd memory) {
  auto segment = Segment::adopt(std::move(memory));
  if (segment->size() <= kHead ||
      head_of(*segment).stamp != LayoutStamp{BlockHead::kMagic, BlockHead::kVersion, 0, segment->size()}) {
    throw DecodeError("a message was received whose memory is no block of this library");
  }
  if (keep(segment)) os::populate(segment->bytes());
  return Block(std::move(segment));
}

// Whether it was not kept before.
bool BlockPool::keep(const std::shared_ptr<Segment>& segment) {
  Lists dropped;
  const os::ForkLock lock(mutex);
  begin_anew_in_a_child(dropped);
  auto& received = lists_.received;
  const auto at = std::find(received.begin(), received.end(), segment);
  if (at != received.end()) {
    std::rotate(at, at + 1, received.end());
    return false;
  }
  std::size_t bytes = segment->size();
  for (const auto& known : received) bytes += known->size();
  while (!received.empty() && (received.size() >= kMostBlocks || bytes > kMostBytes)) {
    bytes -= received.front()->size();
    dropped.received.push_back(std::move(received.front()));
    received.erase(received.begin());
  }
  received.push_back(segment);
  return true;
}

}  // namespace multiproc::detail
