// SPDX-License-Identifier: MIT
//
// multiproc/sync/detail/store.hpp: what the growing containers stand on: a segment with a lock, a journal and a heap.
//
//     0       StoreHead: stamp, lock, journal and heap, the container's own words
//     4096    the journal's room
//     then    the heap's blocks, as far as max_bytes
//
// A container's call is an Operation: it has the lock, finds the last complete state, and is undone unless it commits.
// Within another Operation of the same thread it is a part of that one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include <multiproc/shm/heap.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/shm/segment.hpp>
#include <multiproc/sync/detail/operation.hpp>
#include <multiproc/sync/rlock.hpp>

namespace multiproc::detail {

struct StoreHead {
  static constexpr std::uint64_t kMagic = 0x726f7473'61706d75;  // "umpastor"
  static constexpr std::uint32_t kVersion = 1;

  LayoutStamp stamp;
  std::uint64_t kind = 0;                   // which container
  std::array<std::uint64_t, 2> elements{};  // the sizes of what it holds
  RLockState lock;
  HeapHead heap;
  std::array<std::uint64_t, 8> root{};  // the container's own
};
inline constexpr std::size_t kJournalAt = 4096;
static_assert(sizeof(StoreHead) <= kJournalAt);

/// What a container is made of, the same in every process that has it.
struct StoreKind {
  std::uint64_t kind = 0;
  std::array<std::uint64_t, 2> elements{};
  std::size_t alignment = 16;
  std::size_t journal = 0;  // bytes
};

class Store {
 public:
  /// 0 of `most`: 1 GiB, or less where this process's limits are lower.
  Store(const StoreKind& kind, std::size_t most);
  /// DecodeError: there is no such container.
  Store(const StoreKind& kind, const Place& place);
  Store(const Store&) = default;
  Store& operator=(const Store&) = default;

  StoreHead& head() const noexcept { return *head_; }
  Heap heap() const noexcept { return Heap(*segment_, head_->heap); }
  std::byte* base() const noexcept { return segment_->begin(); }
  RLock& lock() const noexcept { return lock_; }
  Place place() const noexcept { return {segment_, 0}; }

  /// For those who hold the lock from get_lock() and look without an Operation: undoes what a dead owner had begun.
  void settle() const noexcept {
    if (head_->heap.journal.used() != 0) [[unlikely]]
      undo_what_the_dead_began();
  }

 private:
  void undo_what_the_dead_began() const noexcept;

  std::shared_ptr<Segment> segment_;
  StoreHead* head_;
  mutable RLock lock_;
};

class Operation {
 public:
  explicit Operation(const Store& store)
      : head_(&store.head()), heap_(store.heap()), lock_(&store.lock()), under_way_(head_) {
    lock_->lock();
    is_nested_ = under_way_.is_nested_in_same();
    if (is_nested_)
      mark_ = heap_.journal().used();
    else {
      if (heap_.journal().used() != 0) [[unlikely]]
        heap_.journal().undo(heap_.base(), 0);
      heap_.begin();
    }
  }
  ~Operation() {
    if (!is_done_) heap_.journal().undo(heap_.base(), mark_);
    lock_->unlock();
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  void commit() noexcept {
    is_done_ = true;
    if (!is_nested_) heap_.journal().commit();
  }

  const Heap& heap() const noexcept { return heap_; }
  bool is_nested() const noexcept { return is_nested_; }
  void set(std::uint64_t& word, std::uint64_t value) const { heap_.set(word, value); }

 private:
  StoreHead* head_;
  Heap heap_;
  const RLock* lock_;
  UnderWay under_way_;
  std::uint64_t mark_ = 0;
  bool is_nested_ = false;
  bool is_done_ = false;
};

/// A growing run of bytes: three of a container's words, counted in bytes.
struct Buffer {
  std::uint64_t data = 0;
  std::uint64_t size = 0;
  std::uint64_t capacity = 0;

  /// Whether they make sense in a segment of that size, for elements of so many bytes.
  bool is_plausible(std::uint64_t segment, std::uint64_t each) const noexcept;

  /// SystemError: no memory, or no room below max_bytes.
  void reserve(const Operation& operation, std::size_t bytes);

  /// Replaces `removed` bytes at `at` by `inserted` new ones, which the caller fills in before it commits.
  std::byte* splice(const Operation& operation, std::size_t at, std::size_t removed, std::size_t inserted);

 private:
  void move_to_block(const Operation& operation, std::size_t bytes);
  void grow(const Operation& operation, std::size_t bytes);
};
static_assert(sizeof(Buffer) == 24);

}  // namespace multiproc::detail
