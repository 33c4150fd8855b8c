// SPDX-License-Identifier: MIT

#include <multiproc/sync/condition.hpp>

#include <algorithm>
#include <limits>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/sync/parking.hpp>

namespace multiproc {

namespace detail {

namespace {

// Whether the mutex of a slot is ours now. Nobody's who lives is taken: they hold theirs.
bool take(ConditionSlot& slot) {
  const os::LockOutcome outcome = slot.alive.try_lock();
  return outcome == os::LockOutcome::clean || finish_try_lock(outcome, "Condition") != Acquired::timed_out;
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

// Counted backwards from the next ticket, so that the numbers may begin again.
bool ConditionState::came_before_limit(const ConditionSlot& slot) const noexcept {
  const std::uint32_t last = limit.load(std::memory_order_acquire);  // before `next`, which is never behind it
  const std::uint32_t now = next.load(std::memory_order_acquire);
  return now - slot.ticket.load(std::memory_order_relaxed) > now - last;
}

ConditionSlot* ConditionState::take_free() {
  for (std::uint32_t i = 0; i < kSlots; ++i) {
    ConditionSlot& slot = slots[i];
    if (i == made.load(std::memory_order_acquire)) {
      (void)slot.alive.init().or_throw("a place to wait at");
      made.store(i + 1, std::memory_order_release);
    }
    if (slot.alive.is_held() || slot.state() == ConditionSlot::kNotified || !take(slot)) continue;
    slot.word.store(ConditionSlot::kFree, std::memory_order_release);  // of one who died waiting
    if (used.load(std::memory_order_relaxed) <= i) used.store(i + 1, std::memory_order_release);
    return &slot;
  }
  return nullptr;
}

ConditionSlot& ConditionState::enter() {
  ConditionSlot* slot = take_free();
  if (slot == nullptr) {
    tidy();
    slot = take_free();
  }
  if (slot == nullptr) {
    throw InvalidState("Condition: " + std::to_string(kSlots) +
                       " threads wait for it, which is all that it has room for. Let them wait for several conditions, "
                       "or for an Event, which any number can wait for");
  }
  const std::uint32_t ticket = next.load(std::memory_order_relaxed);
  slot->ticket.store(ticket, std::memory_order_relaxed);
  next.store(ticket + 1, std::memory_order_release);
  slot->word.store(ConditionSlot::kWaiting, std::memory_order_release);
  return *slot;
}

// Frees what the dead left: the places of those who waited, and wake-ups for which nobody is left who waited then.
// Those that stay are taken over by the others when they look, for which nobody has to wake them.
void ConditionState::tidy() {
  const std::uint32_t end = used.load(std::memory_order_relaxed);
  std::size_t heirs = 0;
  for (std::uint32_t i = 0; i < end; ++i) {
    ConditionSlot& slot = slots[i];
    if (!slot.is_waiting()) continue;
    if (slot.alive.is_held()) {
      if (came_before_limit(slot)) ++heirs;
    } else if (take(slot)) {
      if (slot.is_waiting()) slot.word.store(ConditionSlot::kFree, std::memory_order_release);
      (void)slot.alive.unlock();
    }
  }
  std::uint32_t top = 0;
  for (std::uint32_t i = 0; i < end; ++i) {
    ConditionSlot& slot = slots[i];
    if (!slot.alive.is_held() && slot.state() == ConditionSlot::kNotified) {
      if (heirs > 0) {
        --heirs;
      } else if (take(slot)) {
        leave(slot);
      }
    }
    if (slot.alive.is_held() || slot.state() != ConditionSlot::kFree) top = i + 1;
  }
  used.store(top, std::memory_order_release);
}

void ConditionState::notify(std::size_t count) {
  if (count == 0 || used.load(std::memory_order_relaxed) == 0) return;
  tidy();
  const std::uint32_t now = next.load(std::memory_order_relaxed);
  limit.store(now, std::memory_order_release);

  std::array<std::uint32_t, kSlots> waiting;  // by number
  std::size_t found = 0;
  const std::uint32_t end = used.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < end; ++i) {
    if (slots[i].is_waiting()) waiting[found++] = i;
  }
  std::sort(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(found),
            [&](std::uint32_t a, std::uint32_t b) {
              return now - slots[a].ticket.load(std::memory_order_relaxed) >
                     now - slots[b].ticket.load(std::memory_order_relaxed);
            });
  for (std::size_t i = 0; i < found && count > 0; ++i) {
    ConditionSlot& slot = slots[waiting[i]];
    if (!slot.alive.is_held()) continue;  // died just now
    std::uint32_t word = slot.state();
    while (word == ConditionSlot::kWaiting || word == ConditionSlot::kAsleep) {
      if (!slot.word.compare_exchange_weak(word, ConditionSlot::kNotified, std::memory_order_acq_rel)) continue;
      if (word == ConditionSlot::kAsleep) (void)unpark(slot.word, 1);
      --count;
      break;
    }
  }
}

// Moves to the place of one who died with a wake-up that was also meant for us. Killed at any moment, we leave that
// wake-up where it was, or have freed it; it is never in two places.
bool ConditionState::take_over(ConditionSlot*& mine) {
  const std::uint32_t end = used.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < end; ++i) {
    ConditionSlot& other = slots[i];
    if (other.state() != ConditionSlot::kNotified || other.alive.is_held() || !came_before_limit(*mine)) continue;
    if (!take(other)) continue;
    if (other.state() == ConditionSlot::kNotified && withdraw(*mine)) {
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
  for (;;) {
    if (is_notified()) return true;
    if (deadline.passed()) return !withdraw(*mine);
    std::uint32_t word = ConditionSlot::kWaiting;
    if (!mine->word.compare_exchange_strong(word, ConditionSlot::kAsleep, std::memory_order_acq_rel) &&
        word == ConditionSlot::kNotified) {
      return true;
    }
    park(mine->word, ConditionSlot::kAsleep, deadline);
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

Condition::Outcome Condition::wait_owned(Deadline deadline) const {
  require(true, is_mine());
  detail::ConditionSlot* slot = &state_->enter();
  detail::Hand hand(lock_);
  // The place is kept until the lock is ours: who dies before that had no use of its wake-up.
  try {
    hand.release();
    const bool notified = state_->wait(slot, deadline);
    const bool owner_died = hand.take();
    detail::leave(*slot);
    return {notified, owner_died};
  } catch (...) {
    (void)detail::withdraw(*slot);  // or leaves the wake-up for another
    (void)slot->alive.unlock();
    if (!is_mine()) (void)hand.take();
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
