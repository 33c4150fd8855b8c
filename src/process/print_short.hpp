// SPDX-License-Identifier: MIT
//
// src/process/print_short.hpp: the way of nearly every print, one write that the kernel keeps whole. Everything beside
// that write may cost a few nanoseconds, so it stands here inline.
//
// Death       A slot that stays busy is let go by who waits for it: print_exact.cpp.
// Stands on   print_process.hpp, os/futex.hpp.
#pragma once

#include <atomic>
#include <climits>
#include <cstdint>

#include <multiproc/os/futex.hpp>

#include "process/print_process.hpp"

namespace multiproc::detail {

/// Looks first: an exchange would cost every print as much as its lock. Who begins to wait between the look and the
/// store is not woken, and looks again by itself after a millisecond or a few.
inline void end_busy(PrintSlot& slot) noexcept {
  const bool is_awaited = slot.busy.load(std::memory_order_relaxed) == kAwaited;
  slot.busy.store(kIdle, std::memory_order_release);
  if (is_awaited) (void)os::futex_wake(slot.busy, INT_MAX);
}

/// Nobody prints long, and no text was torn since this stream looked. In this order: a burial raises the count first.
inline bool is_quiet(const PrintPage& page, PrintStream stream) noexcept {
  std::uint64_t any = page.crowded.load();
  for (const auto& word : page.long_prints) any |= word.load();
  return any == 0 && page.torn_count.load() == print_process.torn_seen[stream].load(std::memory_order_relaxed);
}

/// A short print on its way; at most one a stream, so the stream must be locked. False: take the exact path instead.
class ShortPrint {
 public:
  /// `stream`: not kOther.
  [[gnu::always_inline]] explicit ShortPrint(PrintStream stream) noexcept {
    PrintSlot* slot = print_process.slots[stream].load(std::memory_order_relaxed);
    if (slot == nullptr) slot = own_slot(stream);
    if (slot == nullptr) return;
    slot->busy.store(kBusy);
    if (is_quiet(*print_process.page.load(std::memory_order_relaxed), stream)) {
      slot_ = slot;
    } else {
      end_busy(*slot);
    }
  }
  ~ShortPrint() {
    if (slot_ != nullptr) end_busy(*slot_);
  }
  ShortPrint(const ShortPrint&) = delete;
  ShortPrint& operator=(const ShortPrint&) = delete;

  explicit operator bool() const noexcept { return slot_ != nullptr; }

 private:
  PrintSlot* slot_ = nullptr;
};

}  // namespace multiproc::detail
