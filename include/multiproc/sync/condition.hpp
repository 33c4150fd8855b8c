// SPDX-License-Identifier: MIT
//
// multiproc/sync/condition.hpp: waiting, with a lock let go meanwhile, until somebody says that something has changed.
//
// A Condition stands on a Lock or an RLock: one that it is given, or a Lock of its own. It is a handle: copies name the
// same condition, a forked child has it, and it may be sent to any process of this machine, with its lock.
//
// notify(n) wakes n of those who wait at that moment, the longest waiting first; those who come later have no part in
// it. Nobody comes back from wait() for no reason.
//
// Visibility  The lock's: what was done before a notifier released it is visible to those who were woken.
// Death       Waiters that are killed are forgotten. One that is killed after it was chosen, and before it came back,
//             passes its wake-up on to another that waited when it was chosen, within 50 ms; if there is none any more,
//             that is the end of it. A notifier that is killed has woken as many as it came to; they know within 50 ms
//             (200, where they slept long). A waiter that is stopped is not dead: a wake-up that it got is its own.
// Fork        A child that is forked while other threads wait has no part in that. The lock that the forking thread
//             holds stays its parent's: the child takes it itself before it waits or notifies.
// Limits      4,096 threads waiting at once; one more is refused. (Fewer where RLIMIT_FSIZE is below 257 KiB.) Who
//             waits holds a lock of its own, one of its thread's 2048. A process in another pid namespace can't receive
//             a condition, as it can't a Lock. Not for signal handlers.
// Cost        No system call to notify when nobody waits; otherwise one for each that sleeps, and a look at the place
//             of each that waits. A descriptor and 4 KiB of memory, and 4 KiB more for every 64 that ever waited at
//             once, which are given back with the last handle anywhere; only the 64 bytes of its lock stay (see Lock).
// Stands on   os/robust_mutex.hpp, shm/segment.hpp, sync/lock.hpp, sync/parking.hpp, sync/rlock.hpp.
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>

#include <multiproc/deadline.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/shm/segment.hpp>
#include <multiproc/sync/lock.hpp>
#include <multiproc/sync/rlock.hpp>

namespace multiproc {

namespace detail {

/// The place of one who waits. It belongs to the thread that owns `alive`: a word that says otherwise, where nobody
/// owns that, was left by the dead.
struct alignas(kCacheLine) ConditionSlot {
  static constexpr std::uint32_t kFree = 0;
  static constexpr std::uint32_t kWaiting = 1;
  static constexpr std::uint32_t kAsleep = 2;    // waiting, and must be woken
  static constexpr std::uint32_t kNotified = 3;  // without an owner: a wake-up that another may have

  os::RobustMutex alive;
  std::atomic<std::uint32_t> word{kFree};
  std::atomic<std::uint64_t> ticket{0};  // its number among all who ever waited
  std::atomic<std::uint64_t> limit{0};   // of its notification: tickets from here on came after that

  std::uint32_t state() const noexcept { return word.load(std::memory_order_acquire); }
  bool is_waiting() const noexcept {
    const std::uint32_t now = state();
    return now == kWaiting || now == kAsleep;
  }
};
static_assert(std::is_trivially_destructible_v<ConditionSlot> && std::atomic<std::uint64_t>::is_always_lock_free);

/// What stands before the slots of a condition, in memory that it has for itself and that is reserved as far as there
/// were ever waiters. Whoever owns the condition's lock enters and notifies; the waiting and the end of it need no
/// lock, each touches what it owns. So the counters are its owner's, who may die between any two of them: each is right
/// by itself.
struct alignas(kCacheLine) ConditionState {
  static constexpr std::uint64_t kMagic = 0x7469646e'6f63706d;  // "mpcondit"
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::size_t kMostSlots = 4096;

  explicit ConditionState(std::uint32_t room) noexcept : slots(room) {}

  LayoutStamp stamp;  // written last
  const std::uint32_t slots;
  std::atomic<std::uint32_t> made{0};  // slots below have their memory and their mutex
  std::atomic<std::uint32_t> used{0};  // slots from here on are free
  std::atomic<std::uint64_t> next{0};  // ticket

  // This has the room of a slot.
  static constexpr std::size_t size_for(std::size_t slots) noexcept { return (slots + 1) * sizeof(ConditionSlot); }
  ConditionSlot& operator[](std::uint32_t i) noexcept {
    return *std::launder(reinterpret_cast<ConditionSlot*>(reinterpret_cast<std::byte*>(this) + size_for(i)));
  }

  /// A slot of the calling thread's, which waits from now on. `home` is where this stands. InvalidState: there is none.
  /// SystemError: no memory for another.
  ConditionSlot& enter(const Place& home);
  void notify(std::size_t count);

  /// Until `mine` is notified, or `mine` becomes another, which is. False: the deadline passed, and it is free.
  bool wait(ConditionSlot*& mine, Deadline deadline);

 private:
  ConditionSlot* take_free(const Place& home);
  void make_slot(std::uint32_t i, const Place& home);
  void tidy();
  bool take_over(ConditionSlot*& mine);
};
static_assert(sizeof(ConditionState) <= sizeof(ConditionSlot) && std::is_trivially_destructible_v<ConditionState>);

Place make_condition();
ConditionState* condition_at(const Place& place);  // DecodeError: there is none

template <class L>
inline constexpr bool is_condition_guard = false;
template <>
inline constexpr bool is_condition_guard<Lock> = true;
template <>
inline constexpr bool is_condition_guard<RLock> = true;

}  // namespace detail

/// Example:
///
///     Condition changed;
///     int consumer() {
///       std::unique_lock held(changed);
///       changed.wait(held, [] { return !stock.empty(); });
///       ...
///     }
///     void producer() {
///       std::scoped_lock held(changed);
///       stock.add(...);
///       changed.notify();
///     }
class Condition {
 public:
  /// How a wait ended, which is also the bool "was it notified (does the predicate hold)?".
  class Outcome {
   public:
    Outcome(bool notified, bool owner_died) noexcept : notified_(notified), owner_died_(owner_died) {}

    operator bool() const noexcept { return notified_; }
    /// The lock's owner before us ended while it held it: look after what the lock guards.
    bool owner_died() const noexcept { return owner_died_; }

   private:
    bool notified_;
    bool owner_died_;
  };

  /// A new condition, on a lock of its own or on `lock`. SystemError: no memory, no descriptor.
  Condition() : Condition(Lock()) {}
  explicit Condition(Lock lock) : Condition(std::move(lock), detail::make_condition()) {}
  explicit Condition(RLock lock) : Condition(std::move(lock), detail::make_condition()) {}

  // No moves: a handle that was moved from would name nothing.
  Condition(const Condition&) = default;
  Condition& operator=(const Condition&) = default;

  /// Releases the lock, waits for a notification, and takes the lock again, whatever happens. An RLock is released
  /// wholly and afterwards taken as often as before.
  ///   held      the condition's Lock or RLock, which this thread owns, or a std::unique_lock that holds it (or holds
  ///             the Condition). Without it: the condition's lock, which this thread owns.
  ///   deadline  bounds the wait for the notification; a deadline that has passed lets others have the lock once.
  ///             Taking the lock again is not bounded: the caller's guard must find it held, as with
  ///             std::condition_variable and in Python.
  ///   return    false: not notified until then.
  /// InvalidState: the lock is not the condition's, or this thread does not own it; 4,096 threads wait already, or this
  /// one holds 2048 locks. SystemError: no memory for one more to wait, or the kernel refused.
  Outcome wait() const { return wait_owned(Deadline::never()); }
  Outcome wait(Deadline deadline) const { return wait_owned(deadline); }
  template <class L>
    requires detail::is_condition_guard<std::remove_const_t<L>>
  Outcome wait(const L& held, Deadline deadline = Deadline::never()) const {
    require(names(held), held.is_mine());
    return wait_owned(deadline);
  }
  template <class L>
    requires detail::is_condition_guard<std::remove_const_t<L>>
  Outcome wait(const std::unique_lock<L>& held, Deadline deadline = Deadline::never()) const {
    require(held.mutex() != nullptr && names(*held.mutex()), held.owns_lock());
    return wait_owned(deadline);
  }

  /// The same until `predicate`, which is called with the lock held, is true. The deadline bounds all the waits.
  /// Returns what it said last.
  template <class Held, std::predicate Predicate>
  Outcome wait(const Held& held, Predicate predicate, Deadline deadline = Deadline::never()) const {
    return wait_until_true(predicate, deadline, [&] { return wait(held, deadline); });
  }
  template <std::predicate Predicate>
  Outcome wait(Predicate predicate, Deadline deadline = Deadline::never()) const {
    return wait_until_true(predicate, deadline, [&] { return wait(deadline); });
  }
  template <std::predicate Predicate>
  Outcome wait_for(Predicate predicate, Deadline deadline = Deadline::never()) const {
    return wait(std::move(predicate), deadline);
  }

  /// Wakes n of those who wait, or all if they are fewer. They come back when the lock is theirs, so not before the
  /// caller, who must own it, lets it go. InvalidState: it does not. Error: n is negative.
  void notify(std::ptrdiff_t n = 1) const;
  void notify_one() const { notify(1); }
  void notify_all() const;

  /// The condition's lock. As a std::timed_mutex has them, so that the guards take a Condition, and as Python has them.
  Acquired lock() const { return acquire(Deadline::never()); }
  Acquired acquire() const { return acquire(Deadline::never()); }
  [[nodiscard]] Acquired acquire(Deadline deadline) const {
    return std::visit([&](const auto& lock) { return lock.acquire(deadline); }, lock_);
  }
  template <class Rep, class Period>
  [[nodiscard]] Acquired try_lock_for(const std::chrono::duration<Rep, Period>& from_now) const {
    return std::visit([&](const auto& lock) { return lock.try_lock_for(from_now); }, lock_);
  }
  template <class Clock, class Duration>
  [[nodiscard]] Acquired try_lock_until(const std::chrono::time_point<Clock, Duration>& at) const {
    return std::visit([&](const auto& lock) { return lock.try_lock_until(at); }, lock_);
  }
  [[nodiscard]] Acquired try_lock() const {
    return std::visit([](const auto& lock) { return lock.try_lock(); }, lock_);
  }
  void unlock() const {
    std::visit([](const auto& lock) { lock.unlock(); }, lock_);
  }
  void release() const { unlock(); }
  bool locked() const noexcept {
    return std::visit([](const auto& lock) { return lock.locked(); }, lock_);
  }
  bool is_mine() const noexcept {
    return std::visit([](const auto& lock) { return lock.is_mine(); }, lock_);
  }

  /// The same as an object, which lives as long as this handle. InvalidState: it is of the other kind.
  const Lock& get_lock() const;
  const RLock& get_rlock() const;

  /// Do both name the same condition?
  friend bool operator==(const Condition& a, const Condition& b) noexcept { return a.state_ == b.state_; }

 private:
  friend struct Travel<Condition>;
  using AnyLock = std::variant<Lock, RLock>;
  Condition(AnyLock lock, detail::Place place)
      : lock_(std::move(lock)), place_(std::move(place)), state_(detail::condition_at(place_)) {}

  bool names(const Condition& other) const noexcept { return *this == other; }
  template <class L>
  bool names(const L& lock) const noexcept {
    const L* const mine = std::get_if<L>(&lock_);
    return mine != nullptr && *mine == lock;
  }

  static void require(bool is_the_conditions, bool is_mine);
  Outcome wait_owned(Deadline deadline) const;

  template <class Predicate, class Wait>
  static Outcome wait_until_true(Predicate& predicate, Deadline deadline, const Wait& wait) {
    bool died = false;
    for (;;) {
      if (std::invoke(predicate)) return {true, died};
      // The one look of a deadline that has passed lets others have the lock too.
      const Outcome outcome = wait();
      died = died || outcome.owner_died();
      if (!outcome || deadline.passed()) return {static_cast<bool>(std::invoke(predicate)), died};
    }
  }

  AnyLock lock_;
  detail::Place place_;
  detail::ConditionState* state_;
};

namespace detail {
template <>
inline constexpr bool is_condition_guard<Condition> = true;
}  // namespace detail

template <>
struct Travel<Condition> {
  template <class Encoder>
  static void encode(Encoder& to, const Condition& condition) {
    detail::send_place(to, condition.place_);
    to(static_cast<std::uint8_t>(condition.lock_.index()));
    std::visit([&](const auto& lock) { to(lock); }, condition.lock_);
  }
  template <class Decoder>
  static Condition decode(Decoder& from) {
    detail::Place place = detail::receive_place(from);
    const bool is_rlock = from.template read<std::uint8_t>() != 0;
    if (is_rlock) return Condition(Condition::AnyLock(from.template read<RLock>()), std::move(place));
    return Condition(Condition::AnyLock(from.template read<Lock>()), std::move(place));
  }
};

}  // namespace multiproc
