// SPDX-License-Identifier: MIT
//
// multiproc/shm/heap.hpp: blocks of memory within one growing segment, whose giving and taking can be undone.
//
// The segment's whole range is mapped at once, and its memory is reserved as the blocks need it: a lack of memory is a
// SystemError there, and the heap is as it was. A block that is given back serves later ones of its size class (four
// classes between a size and its double) and is never split or joined; the last one may grow where it stands.
//
// Every word of the heap is kept in the journal before it changes. What is in a block that was given back stays until
// the change has happened: until then new blocks are cut from fresh memory. Callers hold a lock.
//
// Stands on   shm/segment.hpp, shm/journal.hpp.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <multiproc/shm/journal.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc::detail {

/// In the segment. Its words are offsets from the segment's beginning; 0 is "none".
struct HeapHead {
  static constexpr std::size_t kClasses = 4 + 4 * 56;

  Journal journal;
  std::uint64_t first = 0;                // where blocks begin
  std::uint64_t top = 0;                  // where the next new block begins
  std::uint64_t limit = 0;                // where the segment ends
  std::uint64_t alignment = 0;            // of every block, a power of two
  std::atomic<std::uint64_t> reserved{};  // all bytes before it can be touched; only ever grows
  std::uint64_t has_given = 0;            // in the change under way: what was given back may be wanted again
  std::array<std::uint64_t, kClasses> free{};
};

class Heap {
 public:
  Heap(Segment& segment, HeapHead& head) noexcept : segment_(&segment), head_(&head) {}

  /// The heap's blocks begin at `first`; the bytes before are reserved.
  static void init(HeapHead& head, std::uint64_t first, std::uint64_t limit, std::uint64_t alignment) noexcept;

  /// Whether these are the words of a heap in a segment of that size.
  static bool is_plausible(const HeapHead& head, std::uint64_t size) noexcept;

  std::byte* base() const noexcept { return segment_->begin(); }
  template <class T>
  T* at(std::uint64_t offset) const noexcept {
    return reinterpret_cast<T*>(base() + offset);
  }

  /// The offset of a new block of at least `size` bytes. SystemError: no memory, or the segment may grow no further.
  std::uint64_t take(std::size_t size) const;
  void give(std::uint64_t block, std::size_t size) const;

  /// At the beginning of a change that stands for itself.
  void begin() const noexcept { head_->has_given = 0; }

  /// Gives back all blocks at once, as the last step of a change that stands for itself.
  void give_all() const;

  /// Lets the block grow where it stands. False: another stands behind it. SystemError as take().
  bool extend(std::uint64_t block, std::size_t size, std::size_t to) const;

  /// What a block of at least `size` bytes really has.
  static std::size_t rounded(std::size_t size) noexcept;

  /// Writes, and keeps what was there.
  void set(std::uint64_t& word, std::uint64_t value) const {
    keep(&word, sizeof word);
    word = value;
  }
  /// InvalidState: the change is larger than the journal.
  void keep(const void* bytes, std::size_t size) const;

  /// Bytes in blocks that are taken or were given back.
  std::uint64_t used() const noexcept { return head_->top - head_->first; }
  std::uint64_t reserved() const noexcept { return head_->reserved.load(std::memory_order_relaxed); }
  Journal& journal() const noexcept { return head_->journal; }

 private:
  void reserve_up_to(std::uint64_t end) const;

  Segment* segment_;
  HeapHead* head_;
};

}  // namespace multiproc::detail
