// SPDX-License-Identifier: MIT

#include <multiproc/sync/detail/store.hpp>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc::detail {

namespace {

constexpr std::size_t kMost = std::size_t{1} << 30;

std::uint64_t blocks_at(const StoreKind& kind) noexcept {
  return kJournalAt + (kind.journal + 4095) / 4096 * 4096;
}

std::shared_ptr<Segment> make_segment(const StoreKind& kind, std::size_t most) {
  const std::size_t least = static_cast<std::size_t>(blocks_at(kind)) + (std::size_t{64} << 10);
  auto segment = most == 0 ? Segment::make_sparse(least, std::max(least, kMost), "multiproc container")
                           : Segment::make_sparse(std::max(least, most), most, "multiproc container");
  segment->reserve(0, static_cast<std::size_t>(blocks_at(kind)));
  auto* const head = new (segment->begin()) StoreHead;
  (void)head->lock.mutex.init().or_throw("the lock of a new container");
  head->kind = kind.kind;
  head->elements = kind.elements;
  head->heap.journal.init(kJournalAt, blocks_at(kind) - kJournalAt);
  Heap::init(head->heap, blocks_at(kind), segment->size(), kind.alignment);
  head->stamp = {StoreHead::kMagic, StoreHead::kVersion, 0, segment->size()};
  return segment;
}

std::shared_ptr<Segment> require_container(const StoreKind& kind, const Place& place) {
  require_room(place, static_cast<std::size_t>(blocks_at(kind)), kJournalAt);
  const auto& head = *reinterpret_cast<const StoreHead*>(place.address());
  const std::size_t size = place.segment->size();
  if (place.offset != 0 || head.stamp != LayoutStamp{StoreHead::kMagic, StoreHead::kVersion, 0, size}) {
    throw DecodeError("a shared container was received that is none, or was made by another version of multiproc");
  }
  if (head.kind != kind.kind || head.elements != kind.elements) {
    throw DecodeError("a shared container was received that holds other types");
  }
  if (!Heap::is_plausible(head.heap, size))
    throw DecodeError("a shared container was received whose memory is corrupt");
  return place.segment;
}

RLock lock_in(const std::shared_ptr<Segment>& segment) {
  KnownPlace known{{segment, offsetof(StoreHead, lock)}};
  return Travel<RLock>::decode(known);
}

}  // namespace

Store::Store(const StoreKind& kind, std::size_t most)
    : segment_(make_segment(kind, most)),
      head_(std::launder(reinterpret_cast<StoreHead*>(segment_->begin()))),
      lock_(lock_in(segment_)) {}

Store::Store(const StoreKind& kind, const Place& place)
    : segment_(require_container(kind, place)),
      head_(std::launder(reinterpret_cast<StoreHead*>(segment_->begin()))),
      lock_(lock_in(segment_)) {}

void Store::undo_what_the_dead_began() const noexcept {
  if (lock_.is_mine() && !is_under_way(head_)) head_->heap.journal.undo(base(), 0);
}

bool Buffer::is_plausible(std::uint64_t segment, std::uint64_t each) const noexcept {
  return data <= segment && capacity <= segment - data && size <= capacity && size % each == 0;
}

// A new block: nothing of the old one is touched but its first word, once it is given back.
void Buffer::move_to_block(const Operation& operation, std::size_t bytes) {
  const Heap& heap = operation.heap();
  const std::uint64_t block = heap.take(bytes);
  if (size != 0) std::memcpy(heap.at<std::byte>(block), heap.at<std::byte>(data), static_cast<std::size_t>(size));
  const std::uint64_t old = data;
  const std::uint64_t old_capacity = capacity;
  operation.set(data, block);
  operation.set(capacity, Heap::rounded(bytes));
  if (old != 0) heap.give(old, static_cast<std::size_t>(old_capacity));
}

void Buffer::grow(const Operation& operation, std::size_t bytes) {
  if (data != 0 && operation.heap().extend(data, static_cast<std::size_t>(capacity), bytes)) {
    operation.set(capacity, Heap::rounded(bytes));
  } else {
    move_to_block(operation, bytes);
  }
}

void Buffer::reserve(const Operation& operation, std::size_t bytes) {
  if (bytes <= capacity) return;
  Journal& journal = operation.heap().journal();
  const std::uint64_t mark = journal.used();
  const std::size_t generous = static_cast<std::size_t>(capacity) * 2;
  if (generous > bytes) {
    try {
      return grow(operation, generous);
    } catch (const SystemError&) {
      journal.undo(operation.heap().base(), mark);
    }
  }
  grow(operation, bytes);
}

std::byte* Buffer::splice(const Operation& operation, std::size_t at, std::size_t removed, std::size_t inserted) {
  const Heap& heap = operation.heap();
  const auto before = static_cast<std::size_t>(size);
  const std::size_t tail = before - at - removed;
  if (inserted > std::numeric_limits<std::size_t>::max() / 2 - before) {
    reserve(operation, std::numeric_limits<std::size_t>::max() / 2);  // which throws
  }
  const std::size_t after = before - removed + inserted;
  reserve(operation, after);

  // What counts now and is overwritten. Within a larger change, what counted when it began may be behind the end.
  std::size_t overwritten = 0;
  if (inserted != removed && tail != 0)
    overwritten = before - at;
  else if (inserted != 0)
    overwritten = removed;
  if (operation.is_nested() && after > at) overwritten = std::max(overwritten, std::max(after, before) - at);
  overwritten = std::min(overwritten, static_cast<std::size_t>(capacity) - at);

  std::byte* bytes = heap.at<std::byte>(data);
  constexpr std::size_t kSpare = 2048;  // for the words of this change
  if (overwritten != 0 && Journal::taken_by(overwritten) + kSpare <= heap.journal().left()) {
    heap.keep(bytes + at, overwritten);
  } else if (overwritten != 0) {
    // Too many to be kept: the new state is made beside the old one.
    const std::byte* const old = bytes;
    const std::uint64_t block = heap.take(static_cast<std::size_t>(capacity));
    bytes = heap.at<std::byte>(block);
    std::memcpy(bytes, old, at);
    std::memcpy(bytes + at + inserted, old + at + removed, tail);
    const std::uint64_t old_block = data;
    operation.set(data, block);
    operation.set(size, after);
    heap.give(old_block, static_cast<std::size_t>(capacity));
    return bytes + at;
  }
  if (inserted != removed && tail != 0) std::memmove(bytes + at + inserted, bytes + at + removed, tail);
  if (after != before) operation.set(size, after);
  return bytes + at;
}

}  // namespace multiproc::detail
