// SPDX-License-Identifier: MIT

#include "process/print_family.hpp"

#include <chrono>
#include <cstddef>
#include <iterator>
#include <mutex>
#include <new>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/life_mark.hpp>
#include <multiproc/os/memory.hpp>

#include "process/print_keeper.hpp"
#include "process/print_process.hpp"

namespace multiproc::detail {

constinit PrintProcess print_process;

namespace {

constexpr std::uint64_t kMagic = 0x6d70'7072'696e'7431;
constexpr std::uint32_t kVersion = 1;

constinit PrintProcess& process = print_process;

// Mappings are never destroyed: a thread may still be printing by an older page, and prints go on after main(). Two:
// the one that a spawned child made before main(), and its parent's.
struct alignas(os::Mapping) KeptMapping {
  std::byte bytes[sizeof(os::Mapping)];
} kept_mappings[2];

// --- the page --------------------------------------------------------------------------------------------------------

// The mutex is held.
void set_page(os::Mapping mapping, bool is_new) noexcept {
  auto* page = reinterpret_cast<PrintPage*>(mapping.bytes().data());
  if (is_new) {  // zeroes so far, which is how every other word begins
    page->magic = kMagic;
    page->version = kVersion;
    page->size = sizeof(PrintPage);
    page->pid_namespace = os::pid_namespace();
  }
  ::new (&kept_mappings[process.page_count++]) os::Mapping(std::move(mapping));
  process.page.store(page, std::memory_order_release);
  for (auto& slot : process.slots) slot.store(nullptr);
  for (auto& seen : process.torn_seen) seen.store(0);
}

// The mutex is held. By a descriptor from the first: a page can't be exchanged later, for who was forked before that
// would keep the old one.
void make_page() noexcept {
  if (process.page.load() != nullptr || process.page_refused.load()) return;
  if (auto memory = os::make_memory("multiproc-print", sizeof(PrintPage))) {
    if (auto mapping = os::map_shared(memory.value().get(), sizeof(PrintPage))) {
      set_page(std::move(mapping).value(), true);
      process.memory.store(std::move(memory).value().release());
      return;
    }
  }
  if (auto mapping = os::map_inheritable(sizeof(PrintPage))) {
    set_page(std::move(mapping).value(), true);
  } else {
    process.page_refused.store(true);
  }
}

// --- slots -----------------------------------------------------------------------------------------------------------

// A claim that failed is not tried again at once: it looks at a thousand owners.
bool may_claim() noexcept {
  return now_ticks() >= process.no_claim_before.load(std::memory_order_relaxed);
}

PrintSlot* claim(PrintPage& page, PrintStream stream) noexcept {
  PrintSlot* slot = nullptr;
  if (own_mark() != kNobody && page.pid_namespace == os::pid_namespace()) {
    PrintKeeper keeper(page);
    if (keeper) slot = keeper.claim(stream);
  }
  if (slot == nullptr) {
    process.no_claim_before.store(now_ticks() + ticks_of(kPrintPatience), std::memory_order_relaxed);
  }
  return slot;
}

// --- fork and exit ---------------------------------------------------------------------------------------------------

// With one thread nobody can hold the mutex, and nothing is written after the fork: os::ForkMutex says why. The mutex
// is none of those because it must be there before any constructor has run.
void before_fork() noexcept {
  const bool is_alone = os::is_single_threaded();
  if (is_alone && process.has_forked) return;
  process.mutex.lock();
  make_page();  // or parent and child would make one each
  if (!process.has_forked) process.has_forked = true;
  if (is_alone) {
    process.mutex.unlock();
  } else {
    process.is_held_over_fork = true;
  }
}

void release_after_fork() noexcept {
  if (!process.is_held_over_fork) return;
  process.is_held_over_fork = false;
  process.mutex.unlock();
}

// The slots are the parent's, and the threads that had turns are not here.
[[gnu::hot]] void after_fork_in_child() noexcept {
  release_after_fork();
  if (process.mark.load(std::memory_order_relaxed) == 0 && process.turns == nullptr) return;  // it never printed
  for (auto& slot : process.slots) slot.store(nullptr);
  for (auto& seen : process.torn_seen) seen.store(0);
  process.mark.store(0);
  process.no_claim_before.store(0);
  process.no_look_before.store(0);
  process.turns = nullptr;
  process.turn_waiters = 0;
}

struct Life {
  Life() noexcept { (void)os::at_fork(before_fork, release_after_fork, after_fork_in_child); }
  ~Life() { leave_print_family(); }
};

// 101 is the first priority open to programs: no constructor of theirs may fork or print before.
[[gnu::init_priority(101)]] const Life life;

}  // namespace

void create_print_family() noexcept {
  if (process.page.load(std::memory_order_relaxed) != nullptr) return;
  const std::scoped_lock lock(process.mutex);
  make_page();
}

int print_family_fd() noexcept {
  return process.memory.load();
}

void adopt_print_family(os::Fd memory) noexcept {
  auto above = os::above_stdio(std::move(memory));
  if (!above) return;
  auto mapping = os::map_shared(above.value().get(), sizeof(PrintPage));
  if (!mapping) return;
  const auto* page = reinterpret_cast<const PrintPage*>(mapping.value().bytes().data());
  if (page->magic != kMagic || page->version != kVersion || page->size != sizeof(PrintPage)) return;
  leave_print_family();
  const std::scoped_lock lock(process.mutex);
  if (process.page_count == std::size(kept_mappings)) return;
  PrintPage* const before = process.page.load();
  set_page(std::move(mapping).value(), false);
  if (before != nullptr && process.has_forked) {  // two families at one target see each other by record locks alone
    before->crowded.store(1);
    process.page.load()->crowded.store(1);
  }
  os::Fd(process.memory.exchange(std::move(above).value().release()));
}

[[gnu::hot]] void leave_print_family() noexcept {
  PrintPage* page = process.page.load();
  if (page == nullptr) return;
  for (auto& claimed : process.slots) {
    if (claimed.load() == nullptr) continue;  // most children print nothing, and are spared the write to this page
    PrintSlot* slot = claimed.exchange(nullptr);
    if (slot == nullptr) continue;
    PrintKeeper keeper(*page);
    if (keeper && slot->owner.load() == owner_word(own_mark(), kPrinting)) keeper.free(*slot);
  }
}

// --- what this process knows by itself -------------------------------------------------------------------------------

std::int64_t now_ticks() noexcept {
  return Deadline::Clock::now().time_since_epoch().count();
}

std::int64_t ticks_of(std::chrono::nanoseconds time) noexcept {
  return std::chrono::duration_cast<Deadline::Clock::duration>(time).count();
}

os::LifeMark own_mark() noexcept {
  os::LifeMark mark = process.mark.load(std::memory_order_relaxed);
  if (mark == 0) {
    const auto read = os::own_life_mark();
    mark = read ? read.value() : kNobody;
    process.mark.store(mark, std::memory_order_relaxed);
  }
  return mark;
}

bool is_dead(std::uint64_t owner) noexcept {
  const os::LifeMark mark = mark_of(owner);
  return mark != 0 && mark != process.mark.load(std::memory_order_relaxed) && os::is_gone(mark);
}

PrintPage* own_page() noexcept {
  PrintPage* page = process.page.load(std::memory_order_acquire);
  if (page == nullptr && !process.page_refused.load(std::memory_order_relaxed)) {
    create_print_family();
    page = process.page.load(std::memory_order_acquire);
  }
  return page;
}

PrintSlot* own_slot(PrintStream stream) noexcept {
  PrintSlot* slot = process.slots[stream].load(std::memory_order_relaxed);
  if (slot != nullptr) return slot;
  PrintPage* page = own_page();
  if (page == nullptr || !may_claim()) return nullptr;
  slot = claim(*page, stream);
  if (slot != nullptr) process.slots[stream].store(slot, std::memory_order_relaxed);
  return slot;
}

PrintSlot* borrow_slot(PrintPage& page) noexcept {
  return may_claim() ? claim(page, kOther) : nullptr;
}

}  // namespace multiproc::detail
