// SPDX-License-Identifier: MIT

#include "process/print_family.hpp"

#include <algorithm>
#include <bit>
#include <chrono>
#include <climits>
#include <iterator>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/futex.hpp>
#include <multiproc/os/memory.hpp>

namespace multiproc::detail {

using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMagic = 0x6d70'7072'696e'7431;
constexpr std::uint32_t kVersion = 1;

// An owner word: a LifeMark and one of these; or 0, a free slot; or kTorn, which belongs to nobody.
constexpr std::uint64_t kPrinting = 1;
constexpr std::uint64_t kLong = 2;
constexpr std::uint64_t kTorn = 3;
constexpr int kStateBits = 64 - os::kLifeMarkBits;

constexpr std::uint64_t owner_word(os::LifeMark mark, std::uint64_t state) {
  return (mark << kStateBits) | state;
}
constexpr os::LifeMark mark_of(std::uint64_t word) {
  return word >> kStateBits;
}
constexpr std::uint64_t state_of(std::uint64_t word) {
  return word & ((std::uint64_t{1} << kStateBits) - 1);
}

constexpr os::LifeMark kNobody = ~os::LifeMark{0};  // whose life can't be proved may own nothing
constexpr std::uint32_t kIdle = 0;
constexpr std::uint32_t kBusy = 1;
constexpr std::uint32_t kAwaited = 3;
constexpr std::uint32_t kFirstBurial = 64;
constexpr auto kPatience = 100ms;  // with what can't be proved, and with a keeper that was stopped

}  // namespace

// What this process knows by itself. Constant-initialised and never destroyed: prints before main() and after it.
struct PrintProcess {
  std::mutex mutex;  // guards the making of a page and the turns; held across fork()
  bool is_held_over_fork = false;
  std::size_t page_count = 0;
  std::atomic<int> memory{-1};
  std::atomic<PrintPage*> page{nullptr};
  std::atomic<bool> page_refused{false};
  std::atomic<os::LifeMark> mark{0};
  std::array<std::atomic<PrintSlot*>, 2> slots{};
  std::array<std::atomic<std::uint32_t>, 2> torn_seen{};
  std::atomic<std::int64_t> no_claim_before{0};  // steady_clock ticks
  std::atomic<std::int64_t> no_look_before{0};
  TargetTurn* turns = nullptr;
  unsigned turn_waiters = 0;
  std::atomic<std::uint32_t> turn_changes{0};

  TargetTurn* find(const os::Target& target) const noexcept {
    TargetTurn* turn = turns;
    while (turn != nullptr && !turn->target_.same_as(target)) turn = turn->next_;
    return turn;
  }
  void push(TargetTurn& turn) noexcept {
    turn.next_ = turns;
    turns = &turn;
  }
  void remove(TargetTurn& turn) noexcept {
    TargetTurn** at = &turns;
    while (*at != nullptr && *at != &turn) at = &(*at)->next_;
    if (*at != nullptr) *at = turn.next_;
  }
};

namespace {

constinit PrintProcess process;

// Mappings are never destroyed: a thread may still be printing by an older page, and prints go on after main().
struct alignas(os::Mapping) KeptMapping {
  std::byte bytes[sizeof(os::Mapping)];
} kept_mappings[3];

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

bool is_dead(std::uint64_t word) noexcept {
  const os::LifeMark mark = mark_of(word);
  return mark != 0 && mark != process.mark.load(std::memory_order_relaxed) && os::is_gone(mark);
}

// --- bits ------------------------------------------------------------------------------------------------------------

std::uint64_t bit_of(std::size_t slot) noexcept {
  return std::uint64_t{1} << (slot % 64);
}

void raise(PrintBits& bits, std::size_t slot) noexcept {
  bits[slot / 64].fetch_or(bit_of(slot));
}
void lower(PrintBits& bits, std::size_t slot) noexcept {
  bits[slot / 64].fetch_and(~bit_of(slot));
}
bool is_raised(const PrintBits& bits, std::size_t slot) noexcept {
  return (bits[slot / 64].load() & bit_of(slot)) != 0;
}

// Calls visit(index) for every raised bit until it answers false.
template <class Visit>
void for_each_raised(const PrintBits& bits, Visit visit) {
  for (std::size_t word = 0; word < bits.size(); ++word) {
    for (std::uint64_t left = bits[word].load(); left != 0; left &= left - 1) {
      if (!visit(word * 64 + static_cast<std::size_t>(std::countr_zero(left)))) return;
    }
  }
}

std::size_t index_of(const PrintPage& page, const PrintSlot& slot) noexcept {
  return static_cast<std::size_t>(&slot - page.slots.data());
}

bool leads_to(const PrintSlot& slot, const os::Target& target) noexcept {
  return slot.device.load() == target.device && slot.inode.load() == target.inode;
}

void set_target(PrintSlot& slot, const os::Target& target) noexcept {
  slot.device.store(target.device);
  slot.inode.store(target.inode);
}

// --- busy ------------------------------------------------------------------------------------------------------------

// Looks first: an exchange would cost every print as much as its lock. Who begins to wait between the look and the
// store is not woken, and looks again by itself after a millisecond or a few.
void end_busy(PrintSlot& slot) noexcept {
  const bool is_awaited = slot.busy.load(std::memory_order_relaxed) == kAwaited;
  slot.busy.store(kIdle, std::memory_order_release);
  if (is_awaited) (void)os::futex_wake(slot.busy, INT_MAX);
}

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

// --- the keeper ------------------------------------------------------------------------------------------------------

// Who claims, buries and clears. All of that can be repeated, so the place of a dead keeper is simply taken. A keeper
// waits for nobody; one that was stopped by a signal is waited for in patience only.
class Keeper {
 public:
  explicit Keeper(PrintPage& page) noexcept : page_(page) {
    const os::LifeMark mine = own_mark();
    if (mine == kNobody) return;
    const Deadline limit = kPatience;
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
  ~Keeper() {
    if (!holds_) return;
    page_.keeper.store(0);
    if (page_.gate.exchange(0) != 0) (void)os::futex_wake(page_.gate, INT_MAX);
  }
  Keeper(const Keeper&) = delete;
  Keeper& operator=(const Keeper&) = delete;

  explicit operator bool() const noexcept { return holds_; }

  PrintSlot* claim(unsigned stream) noexcept {
    PrintSlot* slot = find_free();
    if (slot == nullptr) return nullptr;
    slot->busy.store(kIdle);
    slot->stream.store(stream);
    slot->owner.store(owner_word(own_mark(), kPrinting));
    return slot;
  }

  void free(PrintSlot& slot) noexcept {
    const std::size_t index = index_of(page_, slot);
    lower(page_.torn, index);
    slot.owner.store(0);
    lower(page_.used, index);
  }

  void record_torn(const os::Target& target) noexcept {
    PrintSlot* slot = find_free();
    if (slot == nullptr) return;
    set_target(*slot, target);
    make_torn(*slot);
  }

  // The text that was torn there is followed by a newline now.
  void forget_torn(const os::Target& target) noexcept {
    for_each_raised(page_.torn, [&](std::size_t index) {
      PrintSlot& slot = page_.slots[index];
      if (slot.owner.load() == kTorn && leads_to(slot, target)) free(slot);
      return true;
    });
  }

  // Long prints whose printer is dead, or whose bit outlived a keeper that was just burying them.
  void bury_long_prints() noexcept {
    for_each_raised(page_.long_prints, [&](std::size_t index) {
      bury(page_.slots[index]);
      return true;
    });
  }

 private:
  void make_torn(PrintSlot& slot) noexcept {
    slot.owner.store(kTorn);
    raise(page_.torn, index_of(page_, slot));
    page_.torn_count.fetch_add(1);
  }

  // The bit of a long print goes last: until then nobody prints short.
  bool bury(PrintSlot& slot) noexcept {
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

  PrintSlot* find_free() noexcept {
    std::uint32_t used = 0;
    for (const auto& word : page_.used) used += static_cast<std::uint32_t>(std::popcount(word.load()));
    if (used >= page_.bury_at.load()) {
      for_each_raised(page_.used, [&](std::size_t index) {
        if (bury(page_.slots[index]) && !is_raised(page_.used, index)) --used;
        return true;
      });
      page_.bury_at.store(std::clamp<std::uint32_t>(2 * used, kFirstBurial, kPrintSlots));
    }
    for (std::size_t word = 0; word < kPrintWords; ++word) {
      const auto bit = static_cast<std::size_t>(std::countr_one(page_.used[word].load()));
      if (bit < 64) return take(word * 64 + bit);
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

  PrintSlot* take(std::size_t index) noexcept {
    raise(page_.used, index);
    return &page_.slots[index];
  }

  PrintPage& page_;
  bool holds_ = false;
};

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

// The mutex is held.
void make_page(bool with_descriptor) noexcept {
  if (process.page_count == std::size(kept_mappings)) return;
  if (with_descriptor && process.memory.load() < 0) {
    if (auto memory = os::make_memory("multiproc-print", sizeof(PrintPage))) {
      if (auto mapping = os::map_shared(memory.value().get(), sizeof(PrintPage))) {
        set_page(std::move(mapping).value(), true);
        process.memory.store(std::move(memory).value().release());
        return;
      }
    }
  }
  if (process.page.load() != nullptr || process.page_refused.load()) return;
  auto mapping = os::map_inheritable(sizeof(PrintPage));
  if (!mapping) {
    process.page_refused.store(true);
    return;
  }
  set_page(std::move(mapping).value(), true);
}

PrintPage* family() noexcept {
  PrintPage* page = process.page.load(std::memory_order_acquire);
  if (page == nullptr && !process.page_refused.load(std::memory_order_relaxed)) {
    create_print_family(false);
    page = process.page.load(std::memory_order_acquire);
  }
  return page;
}

PrintSlot* claim(PrintPage& page, unsigned stream) noexcept {
  const os::LifeMark mine = own_mark();
  if (mine == kNobody || page.pid_namespace != os::pid_namespace()) return nullptr;
  Keeper keeper(page);
  return keeper ? keeper.claim(stream) : nullptr;
}

void put_off_claims() noexcept {
  process.no_claim_before.store(now_ticks() + ticks_of(kPatience), std::memory_order_relaxed);
}

PrintSlot* stream_slot(PrintStream stream) noexcept {
  PrintSlot* slot = process.slots[stream].load(std::memory_order_relaxed);
  if (slot != nullptr) return slot;
  PrintPage* page = family();
  if (page == nullptr || now_ticks() < process.no_claim_before.load(std::memory_order_relaxed)) return nullptr;
  slot = claim(*page, stream);
  if (slot == nullptr) {
    put_off_claims();
  } else {
    process.slots[stream].store(slot, std::memory_order_relaxed);
  }
  return slot;
}

// Nobody prints long, and no text was torn since this stream looked. In this order: a burial raises the count first.
bool is_quiet(const PrintPage& page, PrintStream stream) noexcept {
  std::uint64_t any = page.crowded.load();
  for (const auto& word : page.long_prints) any |= word.load();
  return any == 0 && page.torn_count.load() == process.torn_seen[stream].load(std::memory_order_relaxed);
}

// --- waiting for relatives -------------------------------------------------------------------------------------------

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
    if (is_any && (is_one_dead || now_ticks() >= process.no_look_before.load(std::memory_order_relaxed))) {
      // The dead at other targets, too: they would keep the whole family on the exact path.
      Keeper keeper(page);
      if (keeper) keeper.bury_long_prints();
      process.no_look_before.store(now_ticks() + ticks_of(10ms), std::memory_order_relaxed);
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
  const Deadline unproved = kPatience;
  for (auto slice = 1ms; slot.busy.load() != kIdle && slot.owner.load() == owner; slice = longer(slice)) {
    const auto theirs = os::target_of(os::pid_of(mark_of(owner)), fd);
    if (theirs ? !theirs.value().same_as(target) : unproved.passed()) return;
    if (is_dead(owner) || has_left(slot, owner, slice)) return;
  }
}

// --- fork and exit ---------------------------------------------------------------------------------------------------

// With one thread nobody can hold the mutex, and nothing is written after the fork: os::ForkMutex says why. The mutex
// is none of those because it must be there before any constructor has run.
void before_fork() noexcept {
  const bool is_alone = os::is_single_threaded();
  if (is_alone && (process.page.load(std::memory_order_relaxed) != nullptr || process.page_refused.load())) return;
  process.mutex.lock();
  make_page(false);  // or parent and child would make one each
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
} const life;

}  // namespace

void create_print_family(bool with_descriptor) noexcept {
  if (!with_descriptor && process.page.load(std::memory_order_relaxed) != nullptr) return;
  const std::scoped_lock lock(process.mutex);
  make_page(with_descriptor);
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
  set_page(std::move(mapping).value(), false);
  os::Fd(process.memory.exchange(std::move(above).value().release()));
}

[[gnu::hot]] void leave_print_family() noexcept {
  PrintPage* page = process.page.load();
  if (page == nullptr) return;
  for (auto& claimed : process.slots) {
    if (claimed.load() == nullptr) continue;  // most children print nothing, and are spared the write to this page
    PrintSlot* slot = claimed.exchange(nullptr);
    if (slot == nullptr) continue;
    Keeper keeper(*page);
    if (keeper && slot->owner.load() == owner_word(own_mark(), kPrinting)) keeper.free(*slot);
  }
}

void note_torn_text(const os::Target& target) noexcept {
  PrintPage* page = family();
  if (page == nullptr) return;
  Keeper keeper(*page);
  if (keeper) keeper.record_torn(target);
}

ShortPrint::ShortPrint(PrintStream stream) noexcept {
  PrintSlot* slot = process.slots[stream].load(std::memory_order_relaxed);
  if (slot == nullptr) slot = stream_slot(stream);
  if (slot == nullptr) return;
  slot->busy.store(kBusy);
  if (is_quiet(*process.page.load(std::memory_order_relaxed), stream)) {
    slot_ = slot;
  } else {
    end_busy(*slot);
  }
}

ShortPrint::~ShortPrint() {
  if (slot_ != nullptr) end_busy(*slot_);
}

ExactPrint::ExactPrint(PrintStream stream, const os::Target& target, bool is_long) noexcept
    : target_(target), page_(family()) {
  if (page_ == nullptr) return;
  const std::uint32_t torn_count = page_->torn_count.load();
  wait_for_long_prints(*page_, target_);
  for_each_raised(page_->torn, [&](std::size_t index) {
    const PrintSlot& slot = page_->slots[index];
    after_torn_text_ = slot.owner.load() == kTorn && leads_to(slot, target_);
    return !after_torn_text_;
  });
  if (stream != kOther) process.torn_seen[stream].store(torn_count, std::memory_order_relaxed);
  if (!is_long && !after_torn_text_) return;
  begin_long(stream);
  if (after_torn_text_) {  // after ours is up: killed from here on, we leave the same trace
    Keeper keeper(*page_);
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
    slot_ = stream_slot(stream);
  } else if (now_ticks() >= process.no_claim_before.load(std::memory_order_relaxed)) {
    slot_ = claim(*page_, kOther);
    is_borrowed_ = slot_ != nullptr;
    if (!is_borrowed_) put_off_claims();  // each try looks at a thousand owners
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
  Keeper keeper(*page_);
  if (keeper) keeper.free(*slot_);
}

TargetTurn::TargetTurn(const os::Target& target) : target_(target) {
  std::unique_lock lock(process.mutex);
  while (process.find(target_) != nullptr) {
    const std::uint32_t seen = process.turn_changes.load();
    ++process.turn_waiters;
    lock.unlock();
    (void)os::futex_wait(process.turn_changes, seen, Deadline::never());
    lock.lock();
    --process.turn_waiters;
  }
  process.push(*this);
}

TargetTurn::~TargetTurn() {
  const std::scoped_lock lock(process.mutex);
  process.remove(*this);
  process.turn_changes.fetch_add(1);
  if (process.turn_waiters != 0) (void)os::futex_wake(process.turn_changes, INT_MAX);
}

}  // namespace multiproc::detail
