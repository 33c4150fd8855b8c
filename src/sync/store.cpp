// SPDX-License-Identifier: MIT

#include <multiproc/sync/detail/store.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <new>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc::detail {

namespace {

constexpr std::size_t kMost = std::size_t{1} << 30;
constexpr std::size_t kLeast = std::size_t{64} << 10;
constexpr std::uint64_t kJournalAtFirst = std::uint64_t{16} << 10;
constexpr auto kLargestRange = static_cast<std::size_t>((std::uint64_t{1} << 47) - (std::uint64_t{1} << 30));
constexpr auto kLargest = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max());

std::uint64_t blocks_at(const StoreKind& kind) noexcept {
  return kJournalAt + (kind.journal + 4095) / 4096 * 4096;
}

std::shared_ptr<Segment> make_segment(const StoreKind& kind, std::size_t most) {
  const auto fixed = static_cast<std::size_t>(blocks_at(kind));
  if (most > kLargest - fixed) {
    throw Unsupported("a shared container of at most " + std::to_string(most) +
                      " bytes: no machine has so much (was max_bytes a negative number?)");
  }
  if (most > kLargestRange) {
    throw Unsupported("a shared container of at most " + std::to_string(most) +
                      " bytes: that is more than a process has addresses for. Make it with a smaller max_bytes");
  }
  const std::size_t least = fixed + kLeast;
  auto segment = most == 0 ? Segment::make_sparse(least, std::max(least, kMost), "multiproc container")
                           : Segment::make_sparse(std::max(least, fixed + most), fixed + most, "multiproc container");
  const std::uint64_t at_first = kJournalAt + std::min<std::uint64_t>(kJournalAtFirst, fixed - kJournalAt);
  segment->reserve(0, static_cast<std::size_t>(at_first));
  auto* const head = new (segment->begin()) StoreHead;
  (void)head->lock.mutex.init().or_throw("the lock of a new container");
  head->kind = kind.kind;
  head->elements = kind.elements;
  head->pid_namespace = pid_home();
  head->heap.journal.init(kJournalAt, fixed - kJournalAt);
  Heap::init(head->heap, fixed, segment->size(), kind.alignment, at_first);
  head->stamp = {StoreHead::kMagic, StoreHead::kVersion, 0, segment->size()};
  return segment;
}

// Another process may be in the middle of a change: only what never changes is looked at.
std::shared_ptr<Segment> require_container(const StoreKind& kind, const Place& place) {
  require_room(place, static_cast<std::size_t>(blocks_at(kind)), kJournalAt);
  const auto& head = *reinterpret_cast<const StoreHead*>(place.address());
  const std::size_t size = place.segment->size();
  if (place.offset != 0 || head.stamp != LayoutStamp{StoreHead::kMagic, StoreHead::kVersion, 0, size}) {
    throw DecodeError("a shared container was received that is none, or was made by another version of multiproc");
  }
  require_pid_home(head.pid_namespace);
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
    : kind_(&kind),
      segment_(make_segment(kind, most)),
      head_(std::launder(reinterpret_cast<StoreHead*>(segment_->begin()))),
      lock_(lock_in(segment_)) {}

Store::Store(const StoreKind& kind, const Place& place)
    : kind_(&kind),
      segment_(require_container(kind, place)),
      head_(std::launder(reinterpret_cast<StoreHead*>(segment_->begin()))),
      lock_(lock_in(segment_)) {}

// A corrupt one stays as it is: the next call says so.
void Store::undo_what_the_dead_began() const noexcept {
  if (lock_.is_mine() && !is_under_way(head_)) (void)head_->heap.journal.undo(base(), head_->stamp.size);
}

void Operation::begin(const OperationUnderWay* outermost) {
  try {
    if (outermost != nullptr) {
      is_nested_ = true;
      auto& owner = outermost->operation->owned_;
      if (!owner) owner = std::make_unique<Kept>();
      kept_ = owner.get();
      heap_.use(*kept_);
      mark_ = kept_->mark();
      level_ = ++kept_->depth;
      return;
    }
    Journal& journal = heap_.journal();
    if (journal.used() != 0 && !journal.undo(heap_.base(), store_->head().stamp.size)) Heap::throw_corrupt();
    if (!store_->is_sound()) Heap::throw_corrupt();
    heap_.free_given();
  } catch (...) {
    store_->lock().unlock();
    throw;
  }
}

void Operation::undo() noexcept {
  if (is_nested_)
    kept_->undo(heap_.base(), mark_);
  else
    (void)heap_.journal().undo(heap_.base(), store_->head().stamp.size);
}

bool Operation::is_lent(std::uint64_t offset) const noexcept {
  for (const auto* each = innermost_operation; each != nullptr; each = each->outer) {
    if (each->what != &store_->head() || each->operation == nullptr) continue;
    const std::uint64_t lent = each->operation->lent_;
    if (lent != 0 && (offset == 0 || lent == offset)) return true;
  }
  return false;
}

void throw_too_many(const char* container, std::size_t asked) {
  throw SystemError(ENOMEM, std::string(container) + ": " + std::to_string(asked) +
                                " elements: no machine has room for so many (was it a negative number?)");
}

void Buffer::begin_step(const Operation& operation) const {
  if (operation.is_lent()) {
    throw InvalidState(
        "elements are inserted or removed within with(index, F), which has lent one of them: they would move. Do it in "
        "with(F), where set() and with(index, F) write single ones");
  }
  operation.know_spare([this] { return std::pair(data + size, static_cast<std::size_t>(capacity - size)); });
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

// Where there is no memory nothing of it has happened.
void Buffer::grow_generously(const Operation& operation, std::size_t bytes) {
  const std::size_t generous = static_cast<std::size_t>(capacity) * 2;
  if (generous > bytes) {
    try {
      return grow(operation, generous);
    } catch (const SystemError&) {
    }
  }
  grow(operation, bytes);
}

void Buffer::reserve(const Operation& operation, std::size_t bytes) {
  if (bytes <= capacity) return;
  begin_step(operation);
  grow_generously(operation, bytes);
}

std::byte* Buffer::splice(const Operation& operation, std::size_t at, std::size_t removed, std::size_t inserted) {
  begin_step(operation);
  const Heap& heap = operation.heap();
  const auto before = static_cast<std::size_t>(size);
  const std::size_t tail = before - at - removed;
  if (inserted > kLargest - before) throw_too_many("a shared container", inserted);
  const std::size_t after = before - removed + inserted;
  const std::uint64_t old_block = data;
  if (after > capacity) grow_generously(operation, after);

  // What counts now and is overwritten. Within a larger change, what counted when that began may be behind the end.
  const std::size_t written = inserted != removed ? inserted + tail : inserted;
  std::size_t overwritten = written;
  if (!operation.is_nested()) overwritten = data != old_block ? 0 : std::min(written, before - at);

  std::byte* const bytes = heap.at<std::byte>(data);
  constexpr std::size_t kSpare = 4096;  // for the words of this change
  if (overwritten != 0) {
    if (!heap.has_room_to_keep(bytes + at, overwritten, kSpare)) {
      return splice_into_block(operation, at, removed, inserted);
    }
    heap.keep(bytes + at, overwritten);
  }
  if (inserted != removed && tail != 0) std::memmove(bytes + at + inserted, bytes + at + removed, tail);
  if (after != before) operation.set(size, after);
  return bytes + at;
}

// Too many to be kept: the new state is made beside the old one.
std::byte* Buffer::splice_into_block(const Operation& operation, std::size_t at, std::size_t removed,
                                     std::size_t inserted) {
  const Heap& heap = operation.heap();
  const auto before = static_cast<std::size_t>(size);
  const std::size_t after = before - removed + inserted;
  const std::uint64_t old_block = data;
  const auto old_capacity = static_cast<std::size_t>(capacity);
  std::size_t wanted = after;
  std::uint64_t block = 0;
  if (after >= before && old_capacity > Heap::rounded(after)) {  // as large as it was, if possible
    try {
      block = heap.take(old_capacity);
      wanted = old_capacity;
    } catch (const SystemError&) {
    }
  }
  try {
    if (block == 0) block = heap.take(after);
  } catch (const SystemError& error) {
    if (error.code().value() != ENOSPC) throw;
    throw SystemError(ENOSPC, std::string(error.what()) +
                                  ": a change that moves more than 1 MiB makes the new elements beside the old ones");
  }
  std::byte* const bytes = heap.at<std::byte>(block);
  const std::byte* const old = heap.at<std::byte>(old_block);
  std::memcpy(bytes, old, at);
  std::memcpy(bytes + at + inserted, old + at + removed, before - at - removed);
  operation.set(data, block);
  operation.set(size, after);
  operation.set(capacity, Heap::rounded(wanted));
  heap.give(old_block, old_capacity);
  return bytes + at;
}

}  // namespace multiproc::detail
