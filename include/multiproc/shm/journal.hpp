// SPDX-License-Identifier: MIT
//
// multiproc/shm/journal.hpp: what undoes a change of shared memory whose author was killed in the middle.
//
// A change is made in small steps, and before each of them the bytes that it overwrites are written into the journal.
// One store makes an entry count, one store ends the change: from then on it has happened. Whoever finds entries puts
// the old bytes back, the youngest first; killed in doing so, the next one does it again. All of it under a lock that
// tells of dead owners.
//
// Stores stay in program order: to the compiler by fences, to the others because a killed thread has done what stands
// before the place it was killed at, and nothing of what stands behind.
//
// Limits      Entries that make no sense are found and none of them is followed: nothing is written then.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace multiproc::detail {

/// Lies in the segment whose bytes it keeps. An entry is the old bytes, padded to 8, and then where they stood and how
/// many they are, so that it can be read from its end.
class Journal {
 public:
  static constexpr std::size_t kEntry = 16;  // of an entry, besides its bytes

  /// The journal's room is `room` bytes at `at`; both are offsets from the beginning of the segment.
  void init(std::uint64_t at, std::uint64_t room) noexcept {
    at_ = at;
    room_ = room;
  }

  std::uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }
  std::size_t left() const noexcept { return static_cast<std::size_t>(room_ - used()); }
  std::uint64_t room() const noexcept { return room_; }
  std::uint64_t at() const noexcept { return at_; }

  /// How much of the room these bytes take.
  static constexpr std::size_t taken_by(std::size_t size) noexcept { return (size + 7) / 8 * 8 + kEntry; }

  /// Keeps the bytes at `offset`, which are about to be overwritten. False: there is no room.
  bool keep(std::byte* base, std::uint64_t offset, std::size_t size) noexcept;

  /// The change has happened.
  void commit() noexcept {
    if (used() == 0) return;
    std::atomic_signal_fence(std::memory_order_seq_cst);
    used_.store(0, std::memory_order_release);
  }

  /// Puts everything back that was kept. False, and nothing is written: its entries lead out of the segment, which ends
  /// at `end`, or into the journal or what stands before it.
  [[nodiscard]] bool undo(std::byte* base, std::uint64_t end) noexcept;

 private:
  bool is_sound(const std::byte* base, std::uint64_t end) const noexcept;

  std::uint64_t at_ = 0;
  std::uint64_t room_ = 0;
  std::atomic<std::uint64_t> used_{0};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace multiproc::detail
