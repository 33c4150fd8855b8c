// SPDX-License-Identifier: MIT

#include "process/print_exact.hpp"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>

#include <multiproc/deadline.hpp>
#include <multiproc/os/futex.hpp>

#include "process/print_keeper.hpp"
#include "process/print_process.hpp"
#include "process/print_short.hpp"

namespace multiproc::detail {

using namespace std::chrono_literals;

namespace {

// Whether `slot` has left the print it was in, or did so before `slice` passed. A stale word of an earlier owner counts
// as left.
bool has_left(PrintSlot& slot, std::uint64_t owner, std::chrono::milliseconds slice) noexcept {
  std::uint32_t busy = slot.busy.load();
  if (busy == kBusy && slot.busy.compare_exchange_strong(busy, kAwaited)) busy = kAwaited;
  if (busy != kAwaited) return true;
  (void)os::futex_wait(slot.busy, kAwaited, slice);
  return slot.busy.load() != kAwaited || slot.owner.load() != owner;
}

constexpr std::chrono::milliseconds longer(std::chrono::milliseconds slice) {
  return std::min(2 * slice, 10ms);
}

// A living long print to the same target is met where there is no record lock, or where its owner lost it. Before our
// own bit is up: two that wait for each other would wait for ever.
void wait_for_long_prints(PrintPage& page, const os::Target& target) noexcept {
  for (auto slice = 1ms;; slice = longer(slice)) {
    PrintSlot* other = nullptr;
    std::uint64_t owner = 0;
    bool is_any = false;
    bool is_one_dead = false;
    for_each_raised(page.long_prints, [&](std::size_t index) {
      PrintSlot& slot = page.slots[index];
      const std::uint64_t word = slot.owner.load();
      is_any = true;
      if (word != kTorn && state_of(word) == kLong && leads_to(slot, target)) {
        if (is_dead(word)) {
          is_one_dead = true;
        } else {
          other = &slot;
          owner = word;
        }
      }
      return true;
    });
    if (is_any && (is_one_dead || now_ticks() >= print_process.no_look_before.load(std::memory_order_relaxed))) {
      // The dead at other targets, too: they would keep the whole family on the exact path.
      PrintKeeper keeper(page);
      if (keeper) keeper.bury_long_prints();
      print_process.no_look_before.store(now_ticks() + ticks_of(10ms), std::memory_order_relaxed);
    }
    if (other == nullptr) return;
    (void)has_left(*other, owner, slice);
  }
}

// Waits until `slot` has left the print it is in, if that goes to `target`. One that prints elsewhere may be blocked
// there until *we* read what it printed: it is never waited for.
void wait_for_short_print(PrintSlot& slot, const os::Target& target) noexcept {
  const std::uint64_t owner = slot.owner.load();
  if (mark_of(owner) == 0 || state_of(owner) != kPrinting) return;
  for (int tries = 0; tries < 20; ++tries) {  // as a rule it is over in a microsecond
    if (slot.busy.load() == kIdle) return;
    std::this_thread::yield();
  }
  const int fd = static_cast<int>(slot.stream.load()) + 1;
  const Deadline unproved = kPrintPatience;
  for (auto slice = 1ms; slot.busy.load() != kIdle && slot.owner.load() == owner; slice = longer(slice)) {
    const auto theirs = os::target_of(os::pid_of(mark_of(owner)), fd);
    if (theirs ? !theirs.value().same_as(target) : unproved.passed()) return;
    if (is_dead(owner) || has_left(slot, owner, slice)) return;
  }
}

}  // namespace

void note_torn_text(const os::Target& target) noexcept {
  PrintPage* page = own_page();
  if (page == nullptr) return;
  PrintKeeper keeper(*page);
  if (keeper) keeper.record_torn(target);
}

ExactPrint::ExactPrint(PrintStream stream, const os::Target& target, bool is_long) noexcept
    : target_(target), page_(own_page()) {
  if (page_ == nullptr) return;
  const std::uint32_t torn_count = page_->torn_count.load();
  wait_for_long_prints(*page_, target_);
  for_each_raised(page_->torn, [&](std::size_t index) {
    const PrintSlot& slot = page_->slots[index];
    after_torn_text_ = slot.owner.load() == kTorn && leads_to(slot, target_);
    return !after_torn_text_;
  });
  if (stream != kOther) print_process.torn_seen[stream].store(torn_count, std::memory_order_relaxed);
  if (!is_long && !after_torn_text_) return;
  begin_long(stream);
  if (after_torn_text_) {  // after ours is up: killed from here on, we leave the same trace
    PrintKeeper keeper(*page_);
    if (keeper) keeper.forget_torn(target_);
  }
}

ExactPrint::~ExactPrint() {
  if (page_ == nullptr) return;
  if (leaves_torn_) note_torn_text(target_);
  end_long();
}

void ExactPrint::begin_long(PrintStream stream) noexcept {
  if (stream != kOther) {
    slot_ = own_slot(stream);
  } else {
    slot_ = borrow_slot(*page_);
    is_borrowed_ = slot_ != nullptr;
  }
  if (slot_ == nullptr) {
    page_->crowded.store(1);
  } else {
    set_target(*slot_, target_);
    slot_->busy.store(kBusy);
    raise(page_->long_prints, index_of(*page_, *slot_));
    slot_->owner.store(owner_word(own_mark(), kLong));  // after the bit: without one, nobody would find us dead
  }
  if (!target_.needs_turns) return;
  for_each_raised(page_->used, [&](std::size_t index) {
    PrintSlot& slot = page_->slots[index];
    if (&slot != slot_ && slot.busy.load() != kIdle) wait_for_short_print(slot, target_);
    return true;
  });
}

void ExactPrint::end_long() noexcept {
  if (slot_ == nullptr) return;
  slot_->owner.store(owner_word(own_mark(), kPrinting));
  lower(page_->long_prints, index_of(*page_, *slot_));
  end_busy(*slot_);
  if (!is_borrowed_) return;
  PrintKeeper keeper(*page_);
  if (keeper) keeper.free(*slot_);
}

}  // namespace multiproc::detail
