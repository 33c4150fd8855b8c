// SPDX-License-Identifier: MIT

#include "process/print_keeper.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <climits>
#include <thread>

#include <multiproc/deadline.hpp>
#include <multiproc/os/futex.hpp>

#include "process/print_process.hpp"

namespace multiproc::detail {

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t kFirstBurial = 64;  // used slots

}  // namespace

PrintKeeper::PrintKeeper(PrintPage& page) noexcept : page_(page) {
  const os::LifeMark mine = own_mark();
  if (mine == kNobody) return;
  const Deadline limit = kPrintPatience;
  for (int tries = 0;; ++tries) {
    os::LifeMark holder = 0;
    if (page_.keeper.compare_exchange_strong(holder, mine)) break;
    if (tries < 100) {
      std::this_thread::yield();
      continue;
    }
    if (holder != mine && os::is_gone(holder) && page_.keeper.compare_exchange_strong(holder, mine)) break;
    if (limit.passed()) return;
    page_.gate.store(1);
    if (page_.keeper.load() != 0) (void)os::futex_wait(page_.gate, 1, 1ms);
  }
  holds_ = true;
}

PrintKeeper::~PrintKeeper() {
  if (!holds_) return;
  page_.keeper.store(0);
  if (page_.gate.exchange(0) != 0) (void)os::futex_wake(page_.gate, INT_MAX);
}

PrintSlot* PrintKeeper::claim(PrintStream stream) noexcept {
  PrintSlot* slot = find_free();
  if (slot == nullptr) return nullptr;
  slot->busy.store(kIdle);
  slot->stream.store(stream);
  slot->owner.store(owner_word(own_mark(), kPrinting));
  return slot;
}

void PrintKeeper::free(PrintSlot& slot) noexcept {
  const std::size_t index = index_of(page_, slot);
  lower(page_.torn, index);
  slot.owner.store(0);
  lower(page_.used, index);
}

void PrintKeeper::record_torn(const os::Target& target) noexcept {
  PrintSlot* slot = find_free();
  if (slot == nullptr) return;
  set_target(*slot, target);
  make_torn(*slot);
}

void PrintKeeper::forget_torn(const os::Target& target) noexcept {
  for_each_raised(page_.torn, [&](std::size_t index) {
    PrintSlot& slot = page_.slots[index];
    if (slot.owner.load() == kTorn && leads_to(slot, target)) free(slot);
    return true;
  });
}

void PrintKeeper::bury_long_prints() noexcept {
  for_each_raised(page_.long_prints, [&](std::size_t index) {
    bury(page_.slots[index]);
    return true;
  });
}

void PrintKeeper::make_torn(PrintSlot& slot) noexcept {
  slot.owner.store(kTorn);
  raise(page_.torn, index_of(page_, slot));
  page_.torn_count.fetch_add(1);
}

// The bit of a long print goes last: until then nobody prints short.
bool PrintKeeper::bury(PrintSlot& slot) noexcept {
  const std::size_t index = index_of(page_, slot);
  const std::uint64_t word = slot.owner.load();
  const bool is_owned = mark_of(word) != 0;
  if (is_owned && !is_dead(word)) return false;
  if (is_owned && state_of(word) != kLong) {
    free(slot);
  } else if (is_owned || (word == kTorn && is_raised(page_.long_prints, index))) {
    make_torn(slot);
  } else if (word == 0 || !is_raised(page_.torn, index)) {
    free(slot);
  }
  lower(page_.long_prints, index);
  return true;
}

void PrintKeeper::bury_all_dead(std::uint32_t& used) noexcept {
  for_each_raised(page_.used, [&](std::size_t index) {
    if (bury(page_.slots[index]) && !is_raised(page_.used, index)) --used;
    return true;
  });
}

PrintSlot* PrintKeeper::find_free() noexcept {
  std::uint32_t used = 0;
  for (const auto& word : page_.used) used += static_cast<std::uint32_t>(std::popcount(word.load()));
  if (used >= page_.bury_at.load()) {
    bury_all_dead(used);
    page_.bury_at.store(std::clamp<std::uint32_t>(2 * used, kFirstBurial, kPrintSlots));
  }
  for (std::size_t word = 0; word < kPrintWords; ++word) {
    const auto bit = static_cast<std::size_t>(std::countr_one(page_.used[word].load()));
    if (bit == 64) continue;
    const std::size_t index = word * 64 + bit;
    raise(page_.used, index);
    return &page_.slots[index];
  }
  // Nobody may come to print after a torn text for a long time; who prints now goes first.
  PrintSlot* torn = nullptr;
  for_each_raised(page_.torn, [&](std::size_t index) {
    torn = &page_.slots[index];
    return false;
  });
  if (torn != nullptr) lower(page_.torn, index_of(page_, *torn));
  return torn;
}

}  // namespace multiproc::detail
