// SPDX-License-Identifier: MIT

#include <multiproc/sync/bounded_semaphore.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <memory>
#include <new>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/result.hpp>
#include <multiproc/sync/parking.hpp>

namespace multiproc::detail {

namespace {

constexpr std::chrono::milliseconds kFirstPause{10};  // between two looks for the dead
constexpr std::chrono::seconds kBlindness{1};         // after which one who waits says that it can't look

// Who this process is, to the others. Asked of the kernel once.
constinit std::atomic<os::LifeMark> own_mark{0};
constinit std::atomic<std::uint64_t> own_namespace{0};

[[maybe_unused]] const bool is_registered = os::at_fork(nullptr, nullptr, [] {
                                              if (own_mark.load(std::memory_order_relaxed) != 0) own_mark = 0;
                                            }).ok();

os::LifeMark who_we_are() {
  const os::LifeMark known = own_mark.load(std::memory_order_acquire);
  if (known != 0) [[likely]]
    return known;
  const auto mark = os::own_life_mark();
  if (!mark) {
    if (mark.error() == EMFILE || mark.error() == ENFILE || mark.error() == ENOMEM) {
      os::throw_failure(mark.failure(), "BoundedSemaphore: /proc/self/stat",
                        "Its first use in a process needs a descriptor for a moment");
    }
    throw Unsupported(
        "BoundedSemaphore: without a /proc of this process's own pid namespace nobody can tell who is dead. Mount one "
        "(mount -t proc proc /proc), or take Semaphore, which needs none");
  }
  own_namespace.store(os::pid_namespace(), std::memory_order_relaxed);
  own_mark.store(mark.value(), std::memory_order_release);
  return mark.value();
}

[[noreturn]] void throw_blind(const os::Failure& failure) {
  os::throw_failure(failure, "BoundedSemaphore: /proc/<pid>/stat of a process that holds permits",
                    "Whether it is dead takes a descriptor for a moment to find out. Close some, or raise the limit "
                    "(ulimit -n)");
}

[[noreturn]] void refuse(os::LockOutcome outcome) {
  switch (outcome) {
    case os::LockOutcome::mine:
      throw InvalidState(
          "BoundedSemaphore: used by a signal handler that interrupted its thread in the midst of the same. Handlers "
          "can't use it; they may set an Event, or release a Semaphore");
    case os::LockOutcome::too_many:
      throw InvalidState("BoundedSemaphore: this thread holds " + std::to_string(os::RobustMutex::kMostHeld) +
                         " locks, and it takes one more for a moment. Release some first");
    default:
      throw InvalidState("BoundedSemaphore: there is none in its memory any more: somebody else's writing went astray");
  }
}

// Neighbouring pids begin far apart. A division would cost as much as the rest of the search.
std::size_t first_slot_of(os::LifeMark holder, std::size_t slots) noexcept {
  const std::uint32_t mixed = static_cast<std::uint32_t>(holder) * 0x9e37'79b9U;
  return static_cast<std::size_t>((std::uint64_t{mixed} * slots) >> 32U);
}

std::string permits(std::uint32_t count) {
  return std::to_string(count) + (count == 1 ? " permit" : " permits");
}

}  // namespace

// The time under the guard.
class PermitTable::Inside {
 public:
  explicit Inside(PermitTable& table, Deadline deadline) : table_(table) {
    os::LockOutcome outcome = table_.guard.try_lock();
    if (outcome == os::LockOutcome::busy) outcome = table_.guard.lock(deadline);
    if (outcome == os::LockOutcome::clean || outcome == os::LockOutcome::busy) [[likely]] {
      is_inside_ = outcome == os::LockOutcome::clean;
      return;
    }
    if (outcome != os::LockOutcome::owner_died) refuse(outcome);
    is_inside_ = true;
    table_.count_anew();
    (void)table_.next_turn();  // what the dead one may have given back, it may not have told
    (void)unpark(table_.turns, kEverybody);
  }
  ~Inside() {
    if (is_inside_) table_.guard.unlock();
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

  explicit operator bool() const noexcept { return is_inside_; }

 private:
  PermitTable& table_;
  bool is_inside_ = false;
};

PermitTable& PermitTable::make_at(const Place& place, std::uint32_t bound, std::uint32_t slots) {
  (void)who_we_are();
  auto* const table = new (place.address()) PermitTable;
  std::uninitialized_default_construct_n(reinterpret_cast<PermitSlot*>(table + 1), slots);
  (void)table->guard.init().or_throw("a new BoundedSemaphore");
  table->stamp = {kMagic, kVersion, 0, size_with(slots)};
  table->bound = bound;
  table->slot_count = slots;
  table->pid_namespace = own_namespace.load(std::memory_order_relaxed);
  return *table;
}

PermitTable& PermitTable::at(const Place& place) {
  require_room(place, sizeof(PermitTable), alignof(PermitTable));
  auto& table = *std::launder(reinterpret_cast<PermitTable*>(place.address()));
  const LayoutStamp expected{kMagic, kVersion, 0, size_with(table.slot_count)};
  if (table.stamp != expected) throw DecodeError("a BoundedSemaphore was received, and none is at its place");
  require_room(place, size_with(table.slot_count), alignof(PermitTable));
  return table;
}

std::span<PermitSlot> PermitTable::slots() noexcept {
  return {std::launder(reinterpret_cast<PermitSlot*>(this + 1)), slot_count};
}

os::LifeMark PermitTable::caller() const {
  const os::LifeMark me = who_we_are();
  if (own_namespace.load(std::memory_order_relaxed) != pid_namespace) [[unlikely]] {
    throw Unsupported(
        "BoundedSemaphore: this process is in another pid or time namespace than the one that made it: they can't tell "
        "whether the other is dead. Semaphore works between them");
  }
  return me;
}

// Each holder has its place to begin at, so that it finds its slot at once; a slot that was used stays so, with the
// mark of its last holder, so that the first unused one ends the search.
PermitSlot* PermitTable::slot_of(os::LifeMark holder) noexcept {
  const auto all = slots();
  std::size_t at = first_slot_of(holder, all.size());
  for (std::size_t seen = 0; seen < all.size(); ++seen, at = at + 1 == all.size() ? 0 : at + 1) {
    const os::LifeMark there = all[at].holder.load(std::memory_order_relaxed);
    if (there == holder) return &all[at];
    if (there == 0) break;
  }
  return nullptr;
}

PermitSlot* PermitTable::slot_for(os::LifeMark holder) noexcept {
  if (PermitSlot* const known = slot_of(holder)) return known;
  const auto all = slots();
  std::size_t at = first_slot_of(holder, all.size());
  for (std::size_t seen = 0; seen < all.size(); ++seen, at = at + 1 == all.size() ? 0 : at + 1) {
    if (all[at].permits.load(std::memory_order_relaxed) != 0) continue;
    all[at].holder.store(holder, std::memory_order_relaxed);
    return &all[at];
  }
  return nullptr;
}

void PermitTable::count_anew() noexcept {
  std::uint32_t sum = 0;
  for (const PermitSlot& slot : slots()) sum += slot.permits.load(std::memory_order_relaxed);
  used.store(sum, std::memory_order_relaxed);
}

std::uint32_t PermitTable::next_turn() noexcept {
  return turns.fetch_add(kOneTurn, std::memory_order_relaxed) + kOneTurn;
}

// The mark of the sleepers goes when fewer were there to be woken, and nothing has happened since: who comes later
// sleeps only after somebody has taken what was free, and that is a turn.
void PermitTable::wake(std::uint32_t seen, std::uint32_t count) noexcept {
  const int woken = unpark(turns, static_cast<int>(count));
  if (woken < 0 || static_cast<std::uint32_t>(woken) >= count) return;
  turns.compare_exchange_strong(seen, seen & ~kSleepers, std::memory_order_relaxed);
}

PermitTable::Look PermitTable::look(os::LifeMark me, Deadline deadline, std::uint32_t* sleep_on) {
  std::uint32_t left = 0;
  std::uint32_t seen = 0;
  {
    const Inside inside(*this, deadline);
    if (!inside) return Look::no_entry;
    const std::uint32_t before = used.load(std::memory_order_relaxed);
    PermitSlot* const slot = before < bound ? slot_for(me) : nullptr;
    if (slot == nullptr) {
      if (before < bound) return Look::no_slot;
      if (sleep_on != nullptr) *sleep_on = turns.fetch_or(kSleepers, std::memory_order_relaxed) | kSleepers;
      return Look::none_free;
    }
    slot->permits.store(slot->permits.load(std::memory_order_relaxed) + 1,
                        std::memory_order_release);  // now it is ours
    used.store(before + 1, std::memory_order_relaxed);
    if ((turns.load(std::memory_order_relaxed) & kSleepers) == 0) [[likely]]
      return Look::taken;
    seen = next_turn();
    left = bound - before - 1;
  }
  // Others may have been woken together with us and killed since: who finds more than it needs passes it on.
  if (left != 0) wake(seen, 1);
  return Look::taken;
}

// Outside the guard, for it asks the kernel; no process ever has a dead one's mark again. A failure: of some holders
// nobody can say whether they are dead.
os::Result<> PermitTable::take_from_the_dead(os::LifeMark me, Deadline entry) {
  std::uint32_t got = 0;
  std::uint32_t seen = 0;
  os::Result<> looked;
  for (PermitSlot& slot : slots()) {
    const os::LifeMark holder = slot.holder.load(std::memory_order_relaxed);
    if (holder == 0 || holder == me || slot.permits.load(std::memory_order_relaxed) == 0) continue;
    const auto gone = os::look_whether_gone(holder);
    if (!gone) looked = gone.failure();
    if (!gone || !gone.value()) continue;
    const Inside inside(*this, entry);
    if (!inside) break;
    const std::uint32_t permits = slot.permits.load(std::memory_order_relaxed);
    if (slot.holder.load(std::memory_order_relaxed) != holder || permits == 0) continue;
    slot.permits.store(0, std::memory_order_relaxed);
    used.store(used.load(std::memory_order_relaxed) - permits, std::memory_order_relaxed);
    seen = next_turn();
    got += permits;
  }
  if ((seen & kSleepers) != 0) wake(seen, got);
  return looked;
}

// Of those who sleep one at a time looks, for all: what it finds it gives back, and wakes as many. Should it be stopped
// or killed meanwhile, the next who wakes after that time does.
bool PermitTable::is_our_turn_to_look(std::chrono::nanoseconds pause) noexcept {
  const std::int64_t now = Deadline::Clock::now().time_since_epoch().count();
  std::int64_t last = looked_at.load(std::memory_order_relaxed);
  return now - last >= pause.count() && looked_at.compare_exchange_strong(last, now, std::memory_order_relaxed);
}

bool PermitTable::acquire(Deadline deadline) {
  const os::LifeMark me = caller();
  const bool waits = !deadline.passed();
  // One try is a look, and nobody is under the guard for longer than a look, unless it was stopped there.
  const Deadline entry = waits ? deadline : Deadline(kLongestSleep);
  if (look(me, entry, nullptr) == Look::taken) return true;
  if (waits && spin_until([this] { return used.load(std::memory_order_relaxed) < bound; }) &&
      look(me, entry, nullptr) == Look::taken) {
    return true;
  }
  auto look_for_dead_at = Deadline::Clock::now();
  auto pause = kFirstPause;
  os::Result<> saw;
  Deadline blind = Deadline::never();
  for (bool is_first = true;; is_first = false) {
    if (Deadline::Clock::now() >= look_for_dead_at) {
      // The first look of a call is its own: it may be the only one. So is that of who could not look.
      if (is_first || !saw || is_our_turn_to_look(pause / 2)) saw = take_from_the_dead(me, entry);
      if (saw) {
        blind = Deadline::never();
      } else if (blind.is_never()) {
        blind = Deadline(kBlindness);
      }
      look_for_dead_at = Deadline::Clock::now() + pause;
      pause = std::min(2 * pause, kLongestSleep);
    }
    std::uint32_t sleep_on = 0;
    const Look found = look(me, entry, waits ? &sleep_on : nullptr);
    if (found == Look::taken) return true;
    if (found == Look::no_slot) {
      throw InvalidState("BoundedSemaphore: " + std::to_string(slot_count) +
                         " processes hold permits of it, and no more can at once. Let fewer take part");
    }
    if (!saw && (deadline.passed() || blind.passed())) throw_blind(saw.failure());
    if (deadline.passed()) return false;
    if (found == Look::none_free) park(turns, sleep_on, Deadline::earlier(deadline, look_for_dead_at));
  }
}

void PermitTable::release(std::uint32_t count) {
  const os::LifeMark me = caller();
  std::uint32_t seen = 0;
  {
    const Inside inside(*this, Deadline::never());
    PermitSlot* const slot = slot_of(me);
    const std::uint32_t held = slot != nullptr ? slot->permits.load(std::memory_order_relaxed) : 0;
    if (slot == nullptr || held < count) [[unlikely]] {
      throw InvalidState("BoundedSemaphore::release(" + std::to_string(count) + "): this process holds " +
                         permits(held) +
                         ". What another process acquired is its own to release, and a forked child "
                         "holds nothing of its parent's. Where anybody may release, take Semaphore");
    }
    slot->permits.store(held - count, std::memory_order_release);  // now they are free
    used.store(used.load(std::memory_order_relaxed) - count, std::memory_order_relaxed);
    if ((turns.load(std::memory_order_relaxed) & kSleepers) == 0) [[likely]]
      return;
    seen = next_turn();
  }
  wake(seen, count);
}

// What the slots say without the guard. More than the truth, or less, where permits change hands meanwhile.
os::Result<PermitTable::Count> PermitTable::count_held(os::LifeMark me) {
  Count count;
  for (PermitSlot& slot : slots()) {
    const os::LifeMark holder = slot.holder.load(std::memory_order_relaxed);
    if (holder == 0) continue;
    const std::uint32_t permits = slot.permits.load(std::memory_order_acquire);
    if (permits == 0) continue;
    if (holder != me) {
      const auto gone = os::look_whether_gone(holder);
      if (!gone) return gone.failure();
      if (gone.value()) {
        count.of_the_dead += permits;
        continue;
      }
    }
    count.of_the_living += permits;
  }
  return count;
}

// Without the guard as long as the slots and their sum agree and nobody has died, so that a process that is stopped
// under it holds up nobody; if it is, and some have died, what the slots say has to do.
std::uint32_t PermitTable::free_permits() {
  const os::LifeMark me = caller();
  const auto counted = [&] {
    const auto count = count_held(me);
    if (!count) throw_blind(count.failure());
    return count.value();
  };
  const std::uint32_t before = used.load(std::memory_order_acquire);
  const Count first = counted();
  if (first.of_the_dead == 0 && first.of_the_living == before && used.load(std::memory_order_acquire) == before) {
    return bound - before;
  }
  const Deadline entry(kLongestSleep);
  const os::Result<> looked = take_from_the_dead(me, entry);
  if (!looked) throw_blind(looked.failure());
  {
    const Inside inside(*this, entry);
    if (inside) return bound - used.load(std::memory_order_relaxed);
  }
  return bound - static_cast<std::uint32_t>(std::min<std::uint64_t>(bound, counted().of_the_living));
}

Place make_permits(std::ptrdiff_t bound) {
  if (bound < 1 || bound > BoundedSemaphore::max()) {
    throw Error("BoundedSemaphore: " + std::to_string(bound) + " is no number of permits: 1 to " +
                std::to_string(BoundedSemaphore::max()) + " are");
  }
  (void)who_we_are();  // before anything is made
  const auto slots = static_cast<std::uint32_t>(std::min(bound, BoundedSemaphore::kMostHolders));
  const std::size_t size = PermitTable::size_with(slots);
  constexpr std::size_t kSmall = kLargestSmall / 4;  // more of them would soon fill the memory that they share
  Place place = size <= kSmall ? take_place(size) : Place{Segment::make(size, "multiproc permits"), 0};
  (void)PermitTable::make_at(place, static_cast<std::uint32_t>(bound), slots);
  return place;
}

std::uint32_t permits_to_release(std::ptrdiff_t count) {
  if (count < 1 || count > BoundedSemaphore::max()) {
    throw Error("BoundedSemaphore: " + std::to_string(count) + " is no number of permits to release: 1 or more are");
  }
  return static_cast<std::uint32_t>(count);
}

}  // namespace multiproc::detail
