// SPDX-License-Identifier: MIT

#include <multiproc/sync/barrier.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <optional>
#include <string>

#include <multiproc/os/futex.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/sync/lock.hpp>
#include <multiproc/sync/parking.hpp>

namespace multiproc {

namespace detail {

namespace {

constexpr std::ptrdiff_t kMostParties = 4096;
constexpr std::size_t kLargestInArena = 1024;  // what is larger is given back with its last handle

// The state of the barrier: how many passes there have been, and
//   filling  not all parties are there
//   acting   they are, and the last one runs the action
//   broken   until it is reset, which begins another pass
constexpr std::uint32_t kFilling = 0;
constexpr std::uint32_t kActing = 1;
constexpr std::uint32_t kBroken = 2;
constexpr std::uint32_t kStateMask = 3;
constexpr std::uint32_t kOnePass = 4;

constexpr std::uint32_t pass_of(std::uint32_t phase) {
  return phase & ~kStateMask;
}
constexpr std::uint32_t state_of(std::uint32_t phase) {
  return phase & kStateMask;
}

// The word of a slot: the pass that its party waits for, and
constexpr std::uint32_t kFree = 0;
constexpr std::uint32_t kWaiting = 1;
constexpr std::uint32_t kWasReset = 2;  // the pass ended without being passed

// The place of a party. It belongs to the thread that owns `alive`: a word that says otherwise, where nobody owns that,
// was left by the dead.
struct Slot {
  os::RobustMutex alive;
  std::atomic<std::uint32_t> word{kFree};
  std::uint32_t reserved = 0;

  bool waits_for(std::uint32_t pass) const noexcept {
    return word.load(std::memory_order_acquire) == (pass | kWaiting);
  }
  // The word is written after the mutex is taken, and freed before it is released.
  bool died_waiting_for(std::uint32_t pass) const noexcept {
    if (!waits_for(pass) || alive.is_held()) return false;
    std::atomic_thread_fence(std::memory_order_acquire);
    return waits_for(pass);
  }
};

[[noreturn]] void throw_broken(const char* why) {
  throw BrokenBarrier(std::string("Barrier: ") + why);
}
constexpr const char* kBrokenText =
    "broken: a party died or did not come in time, the action failed, or it was aborted. reset() mends it";
constexpr const char* kTooLateText =
    "the deadline passed before the turn of this call came: all parties of a pass are there, and its action still "
    "runs. "
    "That pass is not broken; allow more time";

constexpr std::chrono::milliseconds kPauseForASlot{10};  // at most

}  // namespace

// Two slots for each party: who comes for the next pass finds one although nobody of the last has left yet.
struct BarrierState {
  static constexpr std::uint64_t kMagic = 0x65697272'6162706d;  // "mpbarrie"
  static constexpr std::uint32_t kVersion = 2;

  explicit BarrierState(std::uint32_t number) noexcept : parties(number) {}

  LayoutStamp stamp;      // written last
  os::RobustMutex guard;  // of those who arrive, and reset
  std::atomic<std::uint32_t> phase{kFilling};
  const std::uint32_t parties;
  const std::uint64_t pid_namespace = pid_home();  // parties are known by their thread ids
  std::atomic<std::int64_t> looked{0};             // when somebody looked for the dead, by the monotonic clock

  Slot* begin() noexcept { return std::launder(reinterpret_cast<Slot*>(this + 1)); }
  const Slot* begin() const noexcept { return std::launder(reinterpret_cast<const Slot*>(this + 1)); }
  Slot* end() noexcept { return begin() + std::size_t{parties} * 2; }
  const Slot* end() const noexcept { return begin() + std::size_t{parties} * 2; }

  static std::size_t size_for(std::size_t parties) noexcept {
    return sizeof(BarrierState) + parties * 2 * sizeof(Slot);
  }

  std::uint32_t load() const noexcept { return phase.load(std::memory_order_acquire); }
  bool change(std::uint32_t from, std::uint32_t to) noexcept {
    if (!phase.compare_exchange_strong(from, to, std::memory_order_acq_rel)) return false;
    (void)unpark(phase, kEverybody);
    return true;
  }
  // Whether this pass is broken now.
  bool break_pass(std::uint32_t pass) noexcept {
    for (;;) {
      const std::uint32_t now = load();
      if (pass_of(now) != pass) return false;
      if (state_of(now) == kBroken || change(now, pass | kBroken)) return true;
    }
  }
  // Whether nobody has looked for the dead for so long. Then the caller does, and the others leave it to it: all looks
  // together cost the same, however many wait, and who is stopped or dead is replaced by the next to wake up.
  bool is_time_to_look(std::chrono::nanoseconds since) noexcept {
    const std::int64_t now = std::chrono::nanoseconds(Deadline::Clock::now().time_since_epoch()).count();
    std::int64_t last = looked.load(std::memory_order_relaxed);
    if (last <= now && now - last < since.count()) return false;
    return looked.compare_exchange_strong(last, now, std::memory_order_relaxed);
  }
  bool somebody_died(std::uint32_t pass) const noexcept {
    return std::any_of(begin(), end(), [pass](const Slot& slot) { return slot.died_waiting_for(pass); });
  }
  std::uint32_t waiting(std::uint32_t pass) const noexcept {
    return static_cast<std::uint32_t>(
        std::count_if(begin(), end(), [pass](const Slot& slot) { return slot.waits_for(pass); }));
  }
};
static_assert(std::is_trivially_destructible_v<BarrierState> && alignof(BarrierState) == alignof(Slot) &&
              std::atomic<std::int64_t>::is_always_lock_free);

namespace {

// Holds the guard, or does not where the deadline passed first. Whatever an owner that died had begun is whole.
class Guard {
 public:
  Guard(os::RobustMutex& mutex, Deadline deadline) : mutex_(mutex) {
    const os::LockOutcome outcome = mutex_.try_lock();
    if (outcome != os::LockOutcome::clean) {
      // It is held for some microseconds only, unless its owner is stopped: no reason to call a deadline missed.
      if (deadline.passed()) deadline = kPatience;
      is_held_ = finish_lock(mutex_, outcome, deadline, "Barrier");
    }
  }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard() { release(); }

  bool is_held() const noexcept { return is_held_; }
  void release() noexcept {
    if (std::exchange(is_held_, false)) (void)mutex_.unlock();
  }

 private:
  static constexpr std::chrono::milliseconds kPatience{10};

  os::RobustMutex& mutex_;
  bool is_held_ = true;
};

// The party that the calling thread is.
class Party {
 public:
  Party(BarrierState& barrier, Slot& slot, std::uint32_t pass, std::uint32_t index) noexcept
      : barrier_(barrier), slot_(slot), pass_(pass), index_(index) {}
  Party(const Party&) = delete;
  Party& operator=(const Party&) = delete;
  ~Party() {
    slot_.word.store(kFree, std::memory_order_release);
    (void)slot_.alive.unlock();
  }

  bool is_last() const noexcept { return index_ + 1 == barrier_.parties; }
  int index() const noexcept { return static_cast<int>(index_); }

  // The last one: leads the others on.
  void run(const BarrierAction* action) {
    try {
      if (action != nullptr) action->run();
      if (!barrier_.change(pass_ | kActing, pass_ + kOnePass)) throw_broken("broken, or reset, while its action ran");
    } catch (...) {
      (void)barrier_.break_pass(pass_);
      throw;
    }
  }

  // The others.
  void wait(Deadline deadline) {
    try {
      sleep_until_over(deadline);
      require_passed();
    } catch (...) {
      // A party that leaves, for whatever reason, is one that the others wait for in vain.
      (void)barrier_.break_pass(pass_);
      throw;
    }
  }

 private:
  // Between two looks for the dead: the longer the more there are to look at, and the longer this has lasted already.
  static constexpr std::chrono::milliseconds kFirstLook{1};
  static constexpr std::chrono::milliseconds kLastLook{10};
  static constexpr std::chrono::microseconds kLookAtOne{10};
  // The first few to come wake up for it. The others seldom do: all together some two hundred times a second.
  static constexpr std::uint32_t kWatchers = 4;
  static constexpr std::chrono::milliseconds kTurnOfOne{5};

  void sleep_until_over(Deadline deadline) {
    const auto began = Deadline::Clock::now();
    if (!deadline.passed() && spin_until([this] { return is_over(); })) return;
    for (bool is_first = true; !is_over(); is_first = false) {
      const auto look = time_of_look(Deadline::Clock::now() - began);
      if (barrier_.is_time_to_look(look / 2) && barrier_.somebody_died(pass_)) {
        if (barrier_.break_pass(pass_)) throw_broken("a party died while it waited");
        continue;
      }
      if (deadline.passed()) {
        if (barrier_.break_pass(pass_)) throw_broken("not all parties came in time");
        continue;
      }
      const std::uint32_t now = barrier_.load();
      if (pass_of(now) != pass_ || state_of(now) == kBroken) continue;
      const auto until = Deadline::earlier(deadline, time_of_sleep(look, is_first));
      const os::WaitOutcome outcome = os::futex_wait(barrier_.phase, now, until).or_throw("a word in shared memory");
      // Who led the others on may have died before it woke them, and some of them sleep for long.
      if (outcome == os::WaitOutcome::timed_out && is_over()) (void)unpark(barrier_.phase, kEverybody);
    }
  }

  std::chrono::nanoseconds time_of_look(std::chrono::nanoseconds waited) const noexcept {
    return std::min<std::chrono::nanoseconds>(kLastLook, kFirstLook + waited / 64) + barrier_.parties * kLookAtOne;
  }

  // Who is alone has nobody to look after, and is woken by the second. Those who seldom wake do so one after another.
  std::chrono::nanoseconds time_of_sleep(std::chrono::nanoseconds look, bool is_first) const noexcept {
    if (index_ == 0 && barrier_.waiting(pass_) <= 1) return kLongestSleep;
    if (index_ < kWatchers) return look;
    const auto turn = std::max<std::chrono::nanoseconds>(kLongestSleep, barrier_.parties * kTurnOfOne);
    return is_first ? turn * (index_ + 1) / barrier_.parties : turn;
  }

  bool is_over() const noexcept {
    const std::uint32_t now = barrier_.load();
    return pass_of(now) != pass_ || state_of(now) == kBroken;
  }
  void require_passed() const {
    if (slot_.word.load(std::memory_order_acquire) == (pass_ | kWasReset) || pass_of(barrier_.load()) == pass_) {
      throw_broken(
          "broken while this party waited: another died or did not come in time, the action failed, or somebody called "
          "abort() or reset()");
    }
  }

  BarrierState& barrier_;
  Slot& slot_;
  const std::uint32_t pass_;
  const std::uint32_t index_;
};

// What somebody finds who comes.
struct Arrival {
  bool somebody_died = false;
  std::uint32_t waiting = 0;
  Slot* free = nullptr;  // nothing: all are still taken by those of earlier passes
};

// The guard is held.
Arrival look_round(BarrierState& barrier, std::uint32_t pass) {
  Arrival found;
  for (Slot& slot : barrier) {
    if (slot.waits_for(pass)) {
      ++found.waiting;
      found.somebody_died = found.somebody_died || slot.died_waiting_for(pass);
      continue;
    }
    if (slot.alive.is_held()) continue;
    if (found.free == nullptr) found.free = &slot;
    if (slot.word.load(std::memory_order_relaxed) != kFree) {
      // What the dead of earlier passes left goes before their number comes again.
      const os::LockOutcome outcome = slot.alive.try_lock();
      if (outcome != os::LockOutcome::clean && outcome != os::LockOutcome::owner_died) continue;
      slot.word.store(kFree, std::memory_order_relaxed);
      (void)slot.alive.unlock();
    }
  }
  return found;
}

// The guard is held. False: it is not free any more.
bool take(Slot& slot) {
  const os::LockOutcome outcome = slot.alive.try_lock();
  if (outcome != os::LockOutcome::clean && !finish_try_lock(outcome, "Barrier")) return false;
  slot.word.store(kFree, std::memory_order_relaxed);
  return true;
}

}  // namespace

std::size_t size_of_barrier(std::ptrdiff_t parties) {
  if (parties < 1 || parties > kMostParties) {
    throw Error("Barrier: " + std::to_string(parties) + " is no number of parties: 1 to " +
                std::to_string(kMostParties) + " are");
  }
  return BarrierState::size_for(static_cast<std::size_t>(parties));
}

Place make_barrier(std::ptrdiff_t parties) {
  const std::size_t size = size_of_barrier(parties);
  Place place = size <= kLargestInArena ? take_place(size) : Place{Segment::make(size, "multiproc barrier"), 0};
  make_barrier_at(place, parties);
  return place;
}

void make_barrier_at(const Place& place, std::ptrdiff_t parties) {
  auto* const state = new (place.address()) BarrierState(static_cast<std::uint32_t>(parties));
  (void)state->guard.init().or_throw("a new barrier");
  auto* const slots = reinterpret_cast<std::byte*>(state + 1);
  for (std::size_t i = 0; i < static_cast<std::size_t>(parties) * 2; ++i) {
    auto* const slot = new (slots + i * sizeof(Slot)) Slot;
    (void)slot->alive.init().or_throw("a new barrier");
  }
  state->stamp = {BarrierState::kMagic, BarrierState::kVersion, 0, size_of_barrier(parties)};
}

BarrierState* barrier_at(const Place& place) {
  require_room(place, sizeof(BarrierState), alignof(BarrierState));
  auto* const state = std::launder(reinterpret_cast<BarrierState*>(place.address()));
  const LayoutStamp expected{BarrierState::kMagic, BarrierState::kVersion, 0, BarrierState::size_for(state->parties)};
  if (state->parties < 1 || state->parties > kMostParties || state->stamp != expected) {
    throw DecodeError("a barrier was received that is none: there is something else in its memory");
  }
  require_room(place, BarrierState::size_for(state->parties), alignof(BarrierState));
  require_pid_home(state->pid_namespace);
  return state;
}

os::CodeAddress locate_barrier_action(const BarrierAction& action) {
  std::optional<os::CodeAddress> code;
  if (action.code != nullptr) code = os::locate_code(reinterpret_cast<const void*>(action.code));
  if (!code) {
    throw multiproc::NotSendable(
        "Barrier: its action can't be sent to another process: it has captures, or is code that was made at run time. "
        "Use a function or a lambda without captures, or start the process by StartMethod::fork");
  }
  return *code;
}

std::shared_ptr<const BarrierAction> resolve_barrier_action(const os::CodeAddress& code) {
  const os::ResolvedCode resolved = os::resolve_code(code);
  if (resolved.address == nullptr) throw DecodeError(resolved.problem);
  return make_barrier_action(reinterpret_cast<void (*)()>(const_cast<void*>(resolved.address)));
}

}  // namespace detail

int Barrier::wait(Deadline deadline) const {
  using namespace detail;
  // The first to leave may destroy this object, and with the last handle its memory goes.
  const Place kept = place_;
  const std::shared_ptr<const BarrierAction> action = action_;
  BarrierState& barrier = *state_;
  for (std::chrono::milliseconds pause{1};; pause = std::min(pause * 2, kPauseForASlot)) {
    Guard guard(barrier.guard, deadline);
    const std::uint32_t now = barrier.load();
    const std::uint32_t pass = pass_of(now);
    if (state_of(now) == kBroken) throw_broken(kBrokenText);
    Arrival found;
    if (guard.is_held()) {
      found = look_round(barrier, pass);
    } else {
      found = {.somebody_died = barrier.somebody_died(pass), .waiting = barrier.waiting(pass)};
    }
    if (found.somebody_died) {
      if (barrier.break_pass(pass)) throw_broken("a party died while it waited");
      continue;
    }
    const bool is_acting = state_of(now) == kActing;
    if (is_acting &&
        std::any_of(barrier.begin(), barrier.end(), [](const Slot& slot) { return slot.alive.is_mine(); })) {
      throw InvalidState("Barrier: wait() called from the barrier's own action, for which all others wait");
    }
    if (is_acting || found.free == nullptr || !take(*found.free)) {
      // All of this pass are here, or some of the last have not left yet: after them.
      guard.release();
      if (deadline.passed()) {
        // Only who belongs to a pass, or would have, breaks it.
        if (is_acting || found.waiting >= barrier.parties) throw_broken(kTooLateText);
        if (barrier.change(now, pass | kBroken)) throw_broken("not all parties came in time");
        continue;
      }
      // A pass that ends wakes us. Nobody tells when a slot is free.
      park(barrier.phase, now, Deadline::earlier(deadline, is_acting ? kLongestSleep : pause));
      continue;
    }
    Party party(barrier, *found.free, pass, found.waiting);
    found.free->word.store(pass | kWaiting, std::memory_order_release);  // from here on it counts
    if (party.index() == 1 && (!party.is_last() || action != nullptr)) (void)unpark(barrier.phase, 1);
    if (!party.is_last()) {
      guard.release();
      party.wait(deadline);
      return party.index();
    }
    // The others see no difference between filling and acting; nobody has to wake.
    std::uint32_t expected = pass | kFilling;
    if (!barrier.phase.compare_exchange_strong(expected, pass | kActing, std::memory_order_acq_rel)) {
      throw_broken(kBrokenText);
    }
    guard.release();
    party.run(action.get());
    return party.index();
  }
}

void Barrier::abort() const noexcept {
  while (!state_->break_pass(detail::pass_of(state_->load()))) {
  }
}

// First it is broken, and only when each party's slot says so it is as new: who is killed in between has aborted it.
void Barrier::reset() const {
  using namespace detail;
  BarrierState& barrier = *state_;
  const Guard guard(barrier.guard, Deadline::never());
  std::uint32_t pass = pass_of(barrier.load());
  while (!barrier.break_pass(pass)) pass = pass_of(barrier.load());
  for (Slot& slot : barrier) {
    std::uint32_t waiting = pass | kWaiting;
    (void)slot.word.compare_exchange_strong(waiting, pass | kWasReset, std::memory_order_acq_rel);
  }
  (void)barrier.change(pass | kBroken, pass + kOnePass);
}

int Barrier::parties() const noexcept {
  return static_cast<int>(state_->parties);
}

int Barrier::n_waiting() const noexcept {
  for (;;) {
    const std::uint32_t now = state_->load();
    if (broken()) return 0;
    const std::uint32_t count = state_->waiting(detail::pass_of(now));
    if (state_->load() == now) return static_cast<int>(count);
  }
}

bool Barrier::broken() const noexcept {
  const std::uint32_t now = state_->load();
  if (detail::state_of(now) == detail::kBroken) return true;
  const std::uint32_t pass = detail::pass_of(now);
  return state_->somebody_died(pass) && state_->break_pass(pass);
}

}  // namespace multiproc
