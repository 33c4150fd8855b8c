// SPDX-License-Identifier: MIT
//
// multiproc/sync/bounded_semaphore.hpp: so many at a time, and what a process holds comes back when it dies.
//
// A BoundedSemaphore has a number of permits, its bound. A permit belongs to the process that acquired it: its threads
// and its copies of the handle share what it holds, and each of them may release it. A release without holding one is
// an error. (A counter that anybody may raise is Semaphore's.) A BoundedSemaphore is a handle: copies name the same
// permits, a forked child has it, and it may be sent to any process of this machine.
//
// Visibility  What a process did before release() is visible to those whose acquire() took what it gave. Of what a dead
//             holder did, it may be half done.
// Death       A holder that ends, by any end, gives back what it holds: free permits and those of the living are the
//             bound, always. Who needs a permit or asks for value() looks whether holders have died; who sleeps looks
//             every 10 ms at first, and every 50 to 100 ms later. A holder that is stopped is not dead. One that calls
//             execve lives on as the same process, and holds what it held until it ends. Killed waiters are forgotten.
// Fork        A child that is forked holds nothing of what its parent holds.
// Limits      kMostHolders processes at once. All of them in one pid and time namespace, and with a /proc of it; else
//             Unsupported, for nobody could tell who is dead. A look at another holder takes a descriptor for a moment.
//             Not for signal handlers. Permits stay with the process when its last handle goes. A process that is
//             stopped in the midst of a call keeps the others waiting as long; deadlines hold, and release() has none.
// Cost        No system call as long as there is a permit, apart from the first use in a process. When there is none:
//             some 10 us for each other process that holds one, at each look.
// Stands on   os/robust_mutex.hpp, os/life_mark.hpp, shm/segment.hpp, sync/parking.hpp.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/os/life_mark.hpp>
#include <multiproc/os/result.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc {

namespace detail {

/// What a process holds. Killed between the two stores of a new one, it leaves a slot without permits, which is free.
struct PermitSlot {
  std::atomic<os::LifeMark> holder{0};  // 0: never used
  std::atomic<std::uint32_t> permits{0};
};

/// Followed by its slots. Written under the guard, all but the mark of the sleepers. What counts are the slots: `used`
/// is their sum, and is made anew by the next owner of the guard when one has died.
struct alignas(kCacheLine) PermitTable {
  static constexpr std::uint64_t kMagic = 0x74696d72'6570706d;  // "mppermit"
  static constexpr std::uint32_t kVersion = 2;
  static constexpr std::uint32_t kSleepers = 1;  // bit 0 of `turns`: somebody may sleep; the others count what happened
  static constexpr std::uint32_t kOneTurn = 2;

  /// Makes one with so many slots at `place`, where there is room for it, zeroed.
  static PermitTable& make_at(const Place& place, std::uint32_t bound, std::uint32_t slots);
  static constexpr std::size_t size_with(std::uint32_t slots) noexcept {
    return sizeof(PermitTable) + slots * sizeof(PermitSlot);
  }
  /// One that another process made. DecodeError: there is none at this place.
  static PermitTable& at(const Place& place);

  bool acquire(Deadline deadline);
  void release(std::uint32_t count);
  std::uint32_t free_permits();

  LayoutStamp stamp;
  os::RobustMutex guard;
  std::atomic<std::uint32_t> turns{0};
  std::atomic<std::uint32_t> used{0};
  std::uint32_t bound = 0;
  std::uint32_t slot_count = 0;
  std::uint64_t pid_namespace = 0;
  std::atomic<std::int64_t> looked_at{0};  // when a sleeper began to look for the dead, by the monotonic clock

 private:
  class Inside;
  enum class Look { taken, none_free, no_slot, no_entry };

  std::span<PermitSlot> slots() noexcept;
  PermitSlot* slot_of(os::LifeMark holder) noexcept;
  PermitSlot* slot_for(os::LifeMark holder) noexcept;
  os::LifeMark caller() const;
  Look look(os::LifeMark me, Deadline deadline, std::uint32_t* sleep_on);
  struct Count {
    std::uint64_t of_the_living = 0;
    std::uint64_t of_the_dead = 0;
  };
  os::Result<> take_from_the_dead(os::LifeMark me, Deadline entry);
  bool is_our_turn_to_look(std::chrono::nanoseconds pause) noexcept;
  os::Result<Count> count_held(os::LifeMark me);
  void count_anew() noexcept;
  std::uint32_t next_turn() noexcept;
  void wake(std::uint32_t seen, std::uint32_t count) noexcept;
};
static_assert(std::atomic<os::LifeMark>::is_always_lock_free && sizeof(PermitSlot) == 16 &&
              sizeof(PermitTable) == 2 * kCacheLine);

/// A new table for so many permits.
Place make_permits(std::ptrdiff_t bound);
std::uint32_t permits_to_release(std::ptrdiff_t count);

}  // namespace detail

/// Example:
///
///     BoundedSemaphore licences{3};
///     Process worker{[](BoundedSemaphore some) { some.acquire(); compile(); some.release(); }, licences};
class BoundedSemaphore {
 public:
  /// The largest bound, and how many processes can hold permits at the same time.
  static constexpr std::ptrdiff_t max() noexcept { return 0x7fff'ffff; }
  static constexpr std::ptrdiff_t kMostHolders = 4096;

  /// New permits, 1 to max(), all of them free. Error: another number. SystemError: no memory, no descriptor.
  /// Unsupported: no /proc, or one of another pid namespace.
  explicit BoundedSemaphore(std::ptrdiff_t value = 1)
      : place_(detail::make_permits(value)), table_(&detail::PermitTable::at(place_)) {}

  // No moves: a handle that was moved from would name nothing.
  BoundedSemaphore(const BoundedSemaphore&) = default;
  BoundedSemaphore& operator=(const BoundedSemaphore&) = default;

  /// Blocks until there is a free permit, and takes it for this process. InvalidState: kMostHolders other processes
  /// hold permits, or this thread 2048 locks. Unsupported: as for the constructor, or this process is in another pid
  /// or time namespace. SystemError: there is no free permit, and for a second there was no descriptor to look with
  /// whether a holder is dead.
  void acquire() const { (void)acquire(Deadline::never()); }

  /// The same until the deadline. False: nothing was taken. A deadline that has passed tries once, for which it waits
  /// up to 50 ms where another process is in the midst of a call. A look at the holders, some 10 us each, is not cut
  /// short by it. SystemError: no permit was to be had until then, and no descriptor to look with whether a holder is
  /// dead.
  [[nodiscard]] bool acquire(Deadline deadline) const {
    const detail::Place kept = place_;  // another thread may let this handle go, once it has what we gave
    return table_->acquire(deadline);
  }
  [[nodiscard]] bool try_acquire() const { return acquire(Deadline::now()); }
  template <class Rep, class Period>
  [[nodiscard]] bool try_acquire_for(const std::chrono::duration<Rep, Period>& from_now) const {
    return acquire(Deadline(from_now));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_acquire_until(const std::chrono::time_point<Clock, Duration>& at) const {
    return detail::wait_until_clock(at, [this](Deadline deadline) { return acquire(deadline); });
  }

  /// Gives n permits of this process back, 1 or more. Error: n is less. InvalidState: the process does not hold so
  /// many; it holds what it held then.
  void release(std::ptrdiff_t n = 1) const {
    const detail::Place kept = place_;
    table_->release(detail::permits_to_release(n));
  }

  /// The free permits at this moment, those of the dead among them. Where a process is stopped in the midst of a call
  /// and a holder is dead, it takes 50 ms, and may be wrong by what changes hands meanwhile. SystemError: no descriptor
  /// to look with whether a holder is dead.
  std::ptrdiff_t value() const { return table_->free_permits(); }

  /// All permits there are.
  std::ptrdiff_t bound() const noexcept { return table_->bound; }

  /// Do both name the same permits?
  friend bool operator==(const BoundedSemaphore& a, const BoundedSemaphore& b) noexcept { return a.table_ == b.table_; }

 private:
  friend struct Travel<BoundedSemaphore>;
  explicit BoundedSemaphore(detail::Place place) : place_(std::move(place)), table_(&detail::PermitTable::at(place_)) {}

  detail::Place place_;
  detail::PermitTable* table_;
};

template <>
struct Travel<BoundedSemaphore> {
  template <class Encoder>
  static void encode(Encoder& to, const BoundedSemaphore& semaphore) {
    detail::send_place(to, semaphore.place_);
  }
  template <class Decoder>
  static BoundedSemaphore decode(Decoder& from) {
    return BoundedSemaphore(detail::receive_place(from));
  }
};

}  // namespace multiproc
