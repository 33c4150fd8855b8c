// SPDX-License-Identifier: MIT
//
// multiproc/sync/barrier.hpp: a number of threads and processes wait until all of them are there, and go on together;
// again and again.
//
// A Barrier is a handle: copies name the same barrier, a forked child has it, and it may be sent to any process of this
// machine, with its action if that is a function. Whoever waits is a party, until as many are there as the barrier was
// made for. More threads than that may use it: who comes meanwhile belongs to the next pass.
//
// A barrier that cannot be passed any more is broken: somebody's deadline passed, a party died while it waited, the
// action threw, or somebody said abort(). Those who wait, and all who come, get BrokenBarrier, until reset().
//
// Visibility  What a party did before wait() is visible to all of its pass after it, and to the action.
// Death       A party that ends while it waits, or runs the action, by any end, breaks the barrier. The others know
//             about a millisecond later, or ten when they have waited for long, and some 10 us more for each party; 50
//             ms where it died just as it came, or where those who look after the others are stopped; 5 ms for each
//             party where nearly all are. Who asks broken() or n_waiting() finds the dead too. Killed inside abort() or
//             reset(): the barrier is as before, broken, or reset. A party that is stopped is not dead.
// Fork        A child that is forked while other threads wait is no party. It has the action, as a copy.
// Limits      4,096 parties. A party holds a lock of its own while it waits, one of its thread's 2048. Of threads that
//             are stopped when they have just passed, as many as there are parties do no harm; more of them keep the
//             next ones waiting until some of them go on or end. Not for signal handlers.
// Cost        One system call to wake the others; for each that sleeps one, and more when the wait is long: the first
//             four look after the others, some hundred times a second, and the rest seldom: about a hundredth
//             of a CPU for all together. 96 bytes for each party. With more than 9 parties the barrier has memory and a
//             descriptor of its own, which are given back with its last handle.
// Stands on   os/futex.hpp, os/module.hpp, os/robust_mutex.hpp, shm/segment.hpp, sync/lock.hpp, sync/parking.hpp.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/error.hpp>
#include <multiproc/os/module.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc {

/// Nobody passes this barrier any more, until it is reset; or, for who came too early and gave up too soon, this call
/// did not. what() says why.
class BrokenBarrier : public Error {
 public:
  using Error::Error;
};

namespace detail {

/// What one party does before all go on. Where it is a function, it has an address that can travel.
struct BarrierAction {
  std::function<void()> run;
  void (*code)() = nullptr;
};

template <class F>
concept CallableByBarrier = std::invocable<std::decay_t<F>&> && std::constructible_from<std::decay_t<F>, F>;

template <class F>
std::shared_ptr<const BarrierAction> make_barrier_action(F&& action) {
  using Action = std::decay_t<F>;
  BarrierAction made;
  if constexpr (std::is_convertible_v<Action, void (*)()>) {
    made.code = static_cast<void (*)()>(action);
  } else if constexpr (std::is_empty_v<Action> && std::is_default_constructible_v<Action>) {
    made.code = [] { (void)Action()(); };
  }
  if constexpr (std::is_copy_constructible_v<Action>) {
    made.run = std::forward<F>(action);
  } else {  // std::function copies
    made.run = [only = std::make_shared<Action>(std::forward<F>(action))] { (void)(*only)(); };
  }
  if (!made.run) return nullptr;  // an empty std::function, a null pointer
  return std::make_shared<const BarrierAction>(std::move(made));
}

/// The travelling form of an action, and back. NotSendable: it has captures. DecodeError: not the same program.
os::CodeAddress locate_barrier_action(const BarrierAction& action);
std::shared_ptr<const BarrierAction> resolve_barrier_action(const os::CodeAddress& code);

struct BarrierState;  // what lies at a barrier's place
std::size_t size_of_barrier(std::ptrdiff_t parties);
void make_barrier_at(const Place& place, std::ptrdiff_t parties);  // in zeroed memory
Place make_barrier(std::ptrdiff_t parties);
BarrierState* barrier_at(const Place& place);  // DecodeError: there is none

}  // namespace detail

/// Example:
///
///     Barrier all_done{4, [] { println("next step"); }};
///     for (int i = 0; i < 4; ++i) workers.emplace_back([](Barrier b) { for (;;) { step(); b.wait(); } }, all_done);
class Barrier {
 public:
  /// A new barrier for `parties`, 1 or more. `action` is called without arguments by the last to come, in its process,
  /// before anybody goes on. To be sent, it must be a function, a captureless lambda or an empty functor; any other
  /// callable stays in this process and its forked children. An empty one, nullptr or {} is none. Error: no such number
  /// of parties. SystemError: no memory, no descriptor.
  explicit Barrier(std::ptrdiff_t parties) : Barrier(detail::make_barrier(parties), nullptr) {}
  Barrier(std::ptrdiff_t parties, std::nullptr_t) : Barrier(parties) {}
  template <detail::CallableByBarrier Action>
  Barrier(std::ptrdiff_t parties, Action&& action)
      : Barrier(detail::make_barrier(parties), detail::make_barrier_action(std::forward<Action>(action))) {}

  // No moves: a handle that was moved from would name nothing.
  Barrier(const Barrier&) = default;
  Barrier& operator=(const Barrier&) = default;

  /// Blocks until all parties are there. Returns the caller's number in this pass, in order of arrival: 0 to
  /// parties() - 1, each once.
  /// BrokenBarrier: see above; the deadline of one breaks the barrier for all. Only where all parties of a pass are
  /// there already and its action runs, a newcomer's deadline is its own affair: BrokenBarrier for it alone. What the
  /// action throws leaves wait() in the party that ran it. InvalidState: called from the action itself. SystemError:
  /// the kernel refused; the barrier is broken if this was a party already.
  int wait() const { return wait(Deadline::never()); }
  int wait(Deadline deadline) const;

  /// Breaks it.
  void abort() const noexcept;

  /// Makes it as new. Those who wait get BrokenBarrier.
  void reset() const;

  int parties() const noexcept;
  /// How many wait at this moment; none while it is broken. Both break the barrier where they find that a party died
  /// while it waited.
  int n_waiting() const noexcept;
  bool broken() const noexcept;

  /// Do both name the same barrier?
  friend bool operator==(const Barrier& a, const Barrier& b) noexcept { return a.state_ == b.state_; }

 private:
  friend struct Travel<Barrier>;
  Barrier(detail::Place place, std::shared_ptr<const detail::BarrierAction> action)
      : place_(std::move(place)), state_(detail::barrier_at(place_)), action_(std::move(action)) {}

  detail::Place place_;
  detail::BarrierState* state_;
  std::shared_ptr<const detail::BarrierAction> action_;
};

template <>
struct Travel<Barrier> {
  template <class Encoder>
  static void encode(Encoder& to, const Barrier& barrier) {
    detail::send_place(to, barrier.place_);
    to(barrier.action_ != nullptr);
    if (barrier.action_ == nullptr) return;
    const os::CodeAddress code = detail::locate_barrier_action(*barrier.action_);
    to(code.build_id, code.path, code.offset);
  }
  template <class Decoder>
  static Barrier decode(Decoder& from) {
    detail::Place place = detail::receive_place(from);
    if (!from.template read<bool>()) return Barrier(std::move(place), nullptr);
    os::CodeAddress code;
    code.build_id = from.template read<std::string>();
    code.path = from.template read<std::string>();
    code.offset = from.template read<std::uint64_t>();
    return Barrier(std::move(place), detail::resolve_barrier_action(code));
  }
};

}  // namespace multiproc
