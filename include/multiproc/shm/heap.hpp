// SPDX-License-Identifier: MIT
//
// multiproc/shm/heap.hpp: blocks of memory within one growing segment, whose giving and taking can be undone.
//
// The segment's whole range is mapped at once, and its memory is reserved as the blocks need it: a lack of memory is a
// SystemError there, and the heap is as it was. A block that is given back serves later ones of its size class (four
// classes between a size and its double). Before more memory is reserved, larger free blocks are split, and when half
// of the heap is free, or all of the segment is used, neighbours are joined; the last block may grow where it stands.
//
// Every word of the heap is kept in the journal before it changes. What is in a block that was given back stays until
// the change has happened, should it be undone: the next change makes it free. Callers hold a lock.
//
// Stands on   shm/segment.hpp, shm/journal.hpp.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <vector>

#include <multiproc/shm/journal.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc::detail {

/// In the segment. Its words are offsets from the segment's beginning; 0 is "none".
struct HeapHead {
  static constexpr std::size_t kClasses = 4 + 4 * 56;

  Journal journal;
  std::uint64_t first = 0;                        // where blocks begin
  std::uint64_t top = 0;                          // where the next new block begins
  std::uint64_t limit = 0;                        // where the segment ends
  std::uint64_t alignment = 0;                    // of every block, a power of two
  std::atomic<std::uint64_t> reserved{};          // all bytes before it, from `first` on, can be touched; only grows
  std::atomic<std::uint64_t> journal_reserved{};  // and of the journal's room; offset of its end
  std::uint64_t given = 0;                        // list of what the last change gave back: may be wanted until it ends
  std::uint64_t free_bytes = 0;                   // in the lists of `free`
  std::array<std::uint64_t, kClasses> free{};
};

/// What a change of several steps remembers in the memory of its own process: which bytes are kept already, or did not
/// count when it began, and how to go back to an earlier step.
class Kept {
 public:
  /// F(offset, size) for each part that is not among them.
  template <class F>
  void for_each_gap(std::uint64_t offset, std::size_t size, F&& act) const {
    std::uint64_t at = offset;
    const std::uint64_t end = offset + size;
    auto next = ranges_.upper_bound(at);
    if (next != ranges_.begin()) at = std::max(at, std::prev(next)->second);
    for (; at < end; ++next) {
      const std::uint64_t until = next == ranges_.end() ? end : std::min(end, next->first);
      if (until > at) act(at, static_cast<std::size_t>(until - at));
      if (next == ranges_.end()) break;
      at = std::max(at, next->second);
    }
  }
  void add(std::uint64_t offset, std::size_t size);

  /// The steps of this process. undo() writes what was remembered since `mark`.
  void remember(const std::byte* base, std::uint64_t offset, std::size_t size);
  std::size_t mark() const noexcept { return steps_.size(); }
  void undo(std::byte* base, std::size_t mark) noexcept;
  void forget() noexcept { steps_.clear(); }

  bool knows_spare = false;  // what the buffer has behind its end
  unsigned depth = 0;        // of the steps that are under way

 private:
  std::map<std::uint64_t, std::uint64_t> ranges_;  // beginning and end; apart from each other
  std::vector<std::byte> steps_;
};

class Heap {
 public:
  Heap(Segment& segment, HeapHead& head) noexcept : segment_(&segment), head_(&head) {}

  /// The heap's blocks begin at `first`; of the journal's room what ends at `journal_reserved` is reserved.
  static void init(HeapHead& head, std::uint64_t first, std::uint64_t limit, std::uint64_t alignment,
                   std::uint64_t journal_reserved) noexcept;

  /// Whether the words that never change are those of a heap in a segment of that size; and whether the others are.
  static bool is_plausible(const HeapHead& head, std::uint64_t size) noexcept;
  static bool is_sound(const HeapHead& head) noexcept {
    return head.first <= head.top && head.top <= head.limit && head.given <= head.top &&
           head.reserved.load(std::memory_order_relaxed) <= head.limit &&
           head.journal_reserved.load(std::memory_order_relaxed) <= head.first;
  }
  [[noreturn]] static void throw_corrupt();

  std::byte* base() const noexcept { return segment_->begin(); }
  template <class T>
  T* at(std::uint64_t offset) const noexcept {
    return reinterpret_cast<T*>(base() + offset);
  }

  /// The offset of a new block of at least `size` bytes. SystemError: no memory, or the segment may grow no further.
  std::uint64_t take(std::size_t size) const;
  void give(std::uint64_t block, std::size_t size) const;

  /// At the beginning of a change that stands for itself, whose journal is empty: whether the last one gave back any,
  /// and to make that free.
  bool has_given() const noexcept { return head_->given != 0; }
  void free_given() const;
  /// In a step of a larger change.
  void use(Kept& kept) noexcept { kept_ = &kept; }

  /// Gives back all blocks at once, as the last step of a change that stands for itself.
  void give_all() const;

  /// Lets the block grow where it stands. False: another stands behind it, or the end. SystemError: no memory.
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
  /// Whether these may be kept, and `spare` bytes of the journal are left then.
  bool has_room_to_keep(const void* bytes, std::size_t size, std::size_t spare) const;

  /// Bytes in blocks that are taken or were given back.
  std::uint64_t used() const noexcept { return head_->top - head_->first; }
  std::uint64_t reserved() const noexcept { return head_->reserved.load(std::memory_order_relaxed); }
  Journal& journal() const noexcept { return head_->journal; }

 private:
  // A word of the list of what was given back: the next block, and above it the size class of this one.
  static constexpr unsigned kOffsetBits = 48;
  static constexpr std::uint64_t kOffset = (std::uint64_t{1} << kOffsetBits) - 1;

  std::uint64_t offset_of(const void* bytes) const noexcept {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(bytes) - base());
  }
  void keep_in_journal(std::uint64_t offset, std::size_t size) const;
  void reserve_up_to(std::uint64_t end) const;
  void require_block(std::uint64_t block, std::size_t size) const;
  std::uint64_t take_free(std::size_t index) const;
  std::uint64_t take_from_larger(std::size_t index) const;
  std::uint64_t take_from_reserved_or_joined(std::size_t index) const;
  void free_run(std::uint64_t begin, std::uint64_t end) const;
  bool join() const;

  Segment* segment_;
  HeapHead* head_;
  Kept* kept_ = nullptr;
};

}  // namespace multiproc::detail
