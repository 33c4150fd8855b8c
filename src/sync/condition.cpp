// SPDX-License-Identifier: MIT

#include <multiproc/sync/condition.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/sync/parking.hpp>

namespace multiproc {

namespace detail {

namespace {

constexpr std::size_t kPage = 4096;                 // what is reserved at a time
static_assert(kPage % sizeof(ConditionSlot) == 0);  // none lies across two

bool is_ours(os::LockOutcome outcome) noexcept {
  return outcome == os::LockOutcome::clean || outcome == os::LockOutcome::owner_died;
}

// Whether the mutex of a slot is ours now. Nobody's who lives is taken: they hold theirs. Nor is any where this thread
// holds as many as it may: what the dead left stays for the next to look.
bool take(ConditionSlot& slot) noexcept {
  return is_ours(slot.alive.try_lock());
}

void leave(ConditionSlot& slot) noexcept {
  slot.word.store(ConditionSlot::kFree, std::memory_order_release);
  (void)slot.alive.unlock();
}

// Gives up `slot` unless it was notified meanwhile.
bool withdraw(ConditionSlot& slot) noexcept {
  std::uint32_t word = slot.state();
  while (word != ConditionSlot::kNotified) {
    if (slot.word.compare_exchange_weak(word, ConditionSlot::kFree, std::memory_order_acq_rel)) return true;
  }
  return false;
}

}  // namespace

// All of the slots' memory is asked for, and none of it reserved but the first page.
Place make_condition() {
  constexpr std::size_t kMost = ConditionState::size_for(ConditionState::kMostSlots);
  Place place{Segment::make_sparse(kPage, kMost, "multiproc condition"), 0};
  place.segment->reserve(0, kPage);
  const std::size_t slots = place.segment->size() / sizeof(ConditionSlot) - 1;
  const auto room = static_cast<std::uint32_t>(std::min(slots, ConditionState::kMostSlots));
  auto* const state = new (place.address()) ConditionState(room);
  state->stamp = {ConditionState::kMagic, ConditionState::kVersion, 0, ConditionState::size_for(room)};
  return place;
}

ConditionState* condition_at(const Place& place) {
  require_room(place, sizeof(ConditionState), alignof(ConditionState));
  auto* const state = std::launder(reinterpret_cast<ConditionState*>(place.address()));
  const LayoutStamp expected{ConditionState::kMagic, ConditionState::kVersion, 0,
                             ConditionState::size_for(state->slots)};
  if (state->slots < 1 || state->slots > ConditionState::kMostSlots || state->stamp != expected) {
    throw DecodeError("a condition was received that is none: there is something else in its memory");
  }
  require_room(place, ConditionState::size_for(state->slots), alignof(ConditionState));
  return state;
}

// Whoever is killed in here leaves it to the next, who does the same again.
void ConditionState::make_slot(std::uint32_t i, const Place& home) {
  const std::size_t at = home.offset + size_for(i);
  if (at % kPage == 0) home.segment->reserve(at, std::min(kPage, home.segment->size() - at));
  auto* const slot = new (home.segment->begin() + at) ConditionSlot;
  (void)slot->alive.init().or_throw("a place to wait at");
  made.store(i + 1, std::memory_order_release);
}

ConditionSlot* ConditionState::take_free(const Place& home) {
  for (std::uint32_t i = 0; i < slots; ++i) {
    if (i == made.load(std::memory_order_acquire)) make_slot(i, home);
    ConditionSlot& slot = (*this)[i];
    if (slot.alive.is_held() || slot.state() == ConditionSlot::kNotified) continue;
    const os::LockOutcome outcome = slot.alive.try_lock();
    if (!is_ours(outcome)) {
      (void)finish_try_lock(outcome, "Condition");  // throws what can't be passed over
      continue;
    }
    slot.word.store(ConditionSlot::kFree, std::memory_order_release);  // of one who died waiting
    if (used.load(std::memory_order_relaxed) <= i) used.store(i + 1, std::memory_order_release);
    return &slot;
  }
  return nullptr;
}

ConditionSlot& ConditionState::enter(const Place& home) {
  ConditionSlot* slot = take_free(home);
  if (slot == nullptr) {
    tidy();
    slot = take_free(home);
  }
  if (slot == nullptr) {
    throw InvalidState("Condition: " + std::to_string(slots) +
                       " threads wait for it, which is all that it has room for. Let them wait for several conditions, "
                       "or for an Event, which any number can wait for");
  }
  const std::uint64_t ticket = next.load(std::memory_order_relaxed);
  slot->ticket.store(ticket, std::memory_order_relaxed);
  next.store(ticket + 1, std::memory_order_release);
  slot->word.store(ConditionSlot::kWaiting, std::memory_order_release);
  return *slot;
}

// Frees what the dead left: the places of those who waited, and wake-ups for which nobody is left who waited then.
// Those that stay are taken over by the others when they look, for which nobody has to wake them.
void ConditionState::tidy() {
  const std::uint32_t end = used.load(std::memory_order_relaxed);
  std::uint64_t longest_waiting = std::numeric_limits<std::uint64_t>::max();  // ticket
  for (std::uint32_t i = 0; i < end; ++i) {
    ConditionSlot& slot = (*this)[i];
    if (!slot.is_waiting()) continue;
    if (slot.alive.is_held()) {
      longest_waiting = std::min(longest_waiting, slot.ticket.load(std::memory_order_relaxed));
    } else if (take(slot)) {
      leave(slot);
    }
  }
  std::uint32_t top = 0;
  for (std::uint32_t i = 0; i < end; ++i) {
    ConditionSlot& slot = (*this)[i];
    if (!slot.alive.is_held() && slot.state() == ConditionSlot::kNotified &&
        slot.limit.load(std::memory_order_relaxed) <= longest_waiting && take(slot)) {
      leave(slot);
    }
    if (slot.alive.is_held() || slot.state() != ConditionSlot::kFree) top = i + 1;
  }
  used.store(top, std::memory_order_release);
}

// Whether it was woken. The limit is there before the word says so: an heir reads it.
static bool wake(ConditionSlot& slot, std::uint64_t limit) noexcept {
  if (!slot.alive.is_held()) return false;  // died just now
  slot.limit.store(limit, std::memory_order_relaxed);
  std::uint32_t word = slot.state();
  while (word == ConditionSlot::kWaiting || word == ConditionSlot::kAsleep) {
    if (!slot.word.compare_exchange_weak(word, ConditionSlot::kNotified, std::memory_order_acq_rel)) continue;
    if (word == ConditionSlot::kAsleep) (void)unpark(slot.word, 1);
    return true;
  }
  return false;  // its deadline passed, or it took another's wake-up over
}

// So many of the longest waiting at a time, in order, as can be had without memory.
void ConditionState::notify(std::size_t count) {
  if (count == 0 || used.load(std::memory_order_relaxed) == 0) return;
  tidy();
  const std::uint32_t end = used.load(std::memory_order_relaxed);
  const std::uint64_t limit = next.load(std::memory_order_relaxed);

  struct Waiter {
    std::uint64_t ticket;
    ConditionSlot* slot;
  };
  std::array<Waiter, 32> longest;
  std::uint64_t from = 0;  // who has a ticket before this had its turn
  for (;;) {
    const std::size_t most = std::min(count, longest.size());
    std::size_t found = 0;
    for (std::uint32_t i = 0; i < end; ++i) {
      ConditionSlot& slot = (*this)[i];
      if (!slot.is_waiting()) continue;
      const std::uint64_t ticket = slot.ticket.load(std::memory_order_relaxed);
      if (ticket < from || (found == most && longest[found - 1].ticket < ticket)) continue;
      std::size_t at = found < most ? found++ : found - 1;
      for (; at > 0 && longest[at - 1].ticket > ticket; --at) longest[at] = longest[at - 1];
      longest[at] = {ticket, &slot};
    }
    for (std::size_t i = 0; i < found; ++i) {
      if (wake(*longest[i].slot, limit)) --count;
      from = longest[i].ticket + 1;
    }
    if (found < most || count == 0) return;
  }
}

// Moves to the place of one who died with a wake-up that was also meant for us. Killed at any moment, we leave that
// wake-up where it was, or have freed it; it is never in two places.
bool ConditionState::take_over(ConditionSlot*& mine) {
  const std::uint64_t ticket = mine->ticket.load(std::memory_order_relaxed);
  const auto is_for_us = [&](const ConditionSlot& other) {
    return other.state() == ConditionSlot::kNotified && ticket < other.limit.load(std::memory_order_relaxed);
  };
  const std::uint32_t end = used.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < end; ++i) {
    ConditionSlot& other = (*this)[i];
    if (!is_for_us(other) || other.alive.is_held() || !take(other)) continue;
    if (is_for_us(other) && withdraw(*mine)) {
      (void)mine->alive.unlock();
      mine = &other;
      return true;
    }
    (void)other.alive.unlock();
    if (mine->state() == ConditionSlot::kNotified) return true;
  }
  return false;
}

bool ConditionState::wait(ConditionSlot*& mine, Deadline deadline) {
  const auto is_notified = [&] { return mine->state() == ConditionSlot::kNotified; };
  if (!deadline.passed() && spin_until(is_notified)) return true;
  for (unsigned sleeps = 0;; ++sleeps) {
    if (is_notified()) return true;
    if (deadline.passed()) return take_over(mine) || !withdraw(*mine);
    std::uint32_t word = ConditionSlot::kWaiting;
    if (!mine->word.compare_exchange_strong(word, ConditionSlot::kAsleep, std::memory_order_acq_rel) &&
        word == ConditionSlot::kNotified) {
      return true;
    }
    park(mine->word, ConditionSlot::kAsleep, deadline, sleeps);
    if (is_notified() || take_over(mine)) return true;
  }
}

namespace {

// Lets go of a lock and takes it again, however often this thread had it.
class Hand {
 public:
  explicit Hand(const std::variant<Lock, RLock>& lock) : lock_(lock) {}

  void release() {
    std::visit(
        [&](const auto& lock) {
          for (depth_ = 0; lock.is_mine(); ++depth_) lock.unlock();
        },
        lock_);
  }
  /// Whether the owner before us died.
  bool take() {
    return std::visit(
        [&](const auto& lock) {
          const Acquired acquired = lock.lock();
          for (--depth_; depth_ > 0; --depth_) (void)lock.lock();
          return acquired == Acquired::owner_died;
        },
        lock_);
  }

 private:
  const std::variant<Lock, RLock>& lock_;
  std::uint32_t depth_ = 0;
};

}  // namespace

}  // namespace detail

void Condition::require(bool is_the_conditions, bool is_mine) {
  if (!is_the_conditions) {
    throw InvalidState("Condition: this is not its lock. Wait with the lock that the condition was made with");
  }
  if (!is_mine) {
    throw InvalidState("Condition: this thread does not own the condition's lock. Take it before you wait or notify");
  }
}

// With handles of its own: another thread may let go of this one as soon as it has notified, and memory with a lock
// that is held must stay.
Condition::Outcome Condition::wait_owned(Deadline deadline) const {
  require(true, is_mine());
  const Condition kept = *this;
  detail::ConditionState& state = *kept.state_;
  detail::ConditionSlot* slot = &state.enter(kept.place_);
  detail::Hand hand(kept.lock_);
  // The place is kept until the lock is ours: who dies before that had no use of its wake-up.
  try {
    hand.release();
    const bool notified = state.wait(slot, deadline);
    const bool owner_died = hand.take();
    detail::leave(*slot);
    return {notified, owner_died};
  } catch (...) {
    (void)detail::withdraw(*slot);  // or leaves the wake-up for another
    (void)slot->alive.unlock();
    if (!kept.is_mine()) (void)hand.take();
    throw;
  }
}

void Condition::notify(std::ptrdiff_t n) const {
  if (n < 0) throw Error("Condition::notify(" + std::to_string(n) + "): a number of waiters is 0 or more");
  require(true, is_mine());
  state_->notify(static_cast<std::size_t>(n));
}

void Condition::notify_all() const {
  require(true, is_mine());
  state_->notify(std::numeric_limits<std::size_t>::max());
}

const Lock& Condition::get_lock() const {
  if (const Lock* const lock = std::get_if<Lock>(&lock_)) return *lock;
  throw InvalidState("Condition: it was made with an RLock: get_rlock() is what names it");
}

const RLock& Condition::get_rlock() const {
  if (const RLock* const lock = std::get_if<RLock>(&lock_)) return *lock;
  throw InvalidState("Condition: it was made with a Lock: get_lock() is what names it");
}

}  // namespace multiproc
