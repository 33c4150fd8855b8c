// SPDX-License-Identifier: MIT
//
// support/kill_step.hpp: kills a process after each instruction of an operation, and looks whether the others can go
// on.
//
// For each kill point the harness makes a fresh state and a few processes around it: a victim that is stepped through
// the operation under ptrace(2) and killed there, and partners that use the same state before, meanwhile and
// afterwards. Then the partners must come to their end within a time limit, and the caller's check looks at what they
// left.
//
//     struct Counter { ... };                                                  // lies in shared memory
//     using State = support::Inherited<Counter>;
//
//     support::KillStep<State>{
//         .name = "Counter::increment",
//         .setup = [] { return State{}; },
//         .operation = [](State& counter) { counter->increment(); },
//         .stages = {{.name = "partner comes after", .after = [](State& counter) { counter->increment(); }}},
//         .check = [](State& counter, support::Findings& found) { if (!counter->whole()) found.corrupt("torn"); },
//     }.run();
//
// prints `Counter::increment 102 kill points, 0 hangs, 0 lost, 0 corrupt, 0 leaked`, and fails the test when a count
// but the first is not 0. Each kill point counts at most once in each column.
//
// Points      The first and the last 50 instructions and every sleep, always; those between, evenly spread, as long as
//             the budget lasts. All of them with MULTIPROC_KILL_STEP=exhaustive in the environment, which is how
//             `ctest -C stress -L stress` runs the programs that tests/CMakeLists.txt marks KILL_STEP.
// Cost        About a millisecond a point for what is forked, and 20 us for each step. On x86-64 the victim runs to its
//             point by a hardware breakpoint, so that an instruction far down costs hardly more than the first, unless
//             it is deep in a loop; elsewhere it is stepped all the way.
// Leaks       Descriptors of this process, names in /dev/shm, and children that a victim left behind: before each state
//             is made and after it is gone. What leaks inside the state is for the check to find.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <multiproc/os/memory.hpp>

namespace support {

namespace detail {
struct Ledger;
}

/// What a check says. It runs in a process of its own; the texts arrive shortened.
class Findings {
 public:
  explicit Findings(detail::Ledger& ledger) noexcept : ledger_(&ledger) {}

  void lost(std::string_view what);     // what a completed operation had done is not there
  void corrupt(std::string_view what);  // half done, or unusable for the others
  void leaked(std::string_view what);   // room or permits that nobody can have any more

 private:
  detail::Ledger* ledger_;
};

struct KillReport {
  std::string name;
  std::size_t kill_points = 0;
  std::size_t hangs = 0;
  std::size_t lost = 0;
  std::size_t corrupt = 0;
  std::size_t leaked = 0;
  std::size_t possible = 0;  // kill points that an exhaustive run has
  std::size_t astray = 0;    // victims that came another way than the first one, and were killed on that
  std::chrono::milliseconds took{0};
  std::vector<std::string> notes{};  // the first faults: stage, point, and what was found

  bool clean() const noexcept { return hangs + lost + corrupt + leaked == 0; }
  std::string line() const;  // "name 612 kill points, 0 hangs, 0 lost, 0 corrupt, 0 leaked"
};

enum class KillAt {
  every_instruction,
  every_system_call,  // right before and right after each; for what takes too many instructions
};

/// Who else is there. One partner process does before, unblock, after and the check, in this order; another one does
/// `blocked`, must be asleep in it when the victim begins, and must end once the victim is dead and `after` has run.
/// An exception or a failed expectation in any of them counts as corrupt.
template <class State>
struct KillStage {
  std::string name = "alone";
  std::function<void(State&)> before{};   // ended when the victim is forked
  std::function<void(State&)> blocked{};  // meanwhile
  std::function<void(State&)> unblock{};  // called when the victim falls asleep in its operation, once
  std::function<void(State&)> after{};    // once the victim is dead
};

template <class State>
struct KillStep {
  std::string name;
  std::function<State()> setup;           // makes a fresh state, in this process, twice for each point
  std::function<void(State&)> prepare{};  // in the victim, not stepped: what it holds when the operation begins
  std::function<void(State&)> operation;  // in the victim, stepped
  std::function<void(State&)> warm_up{};  // in the victim, on another state; otherwise prepare and operation
  std::vector<KillStage<State>> stages{KillStage<State>{}};
  std::function<void(State&, Findings&)> check{};
  KillAt kill_at = KillAt::every_instruction;
  std::chrono::milliseconds budget = std::chrono::seconds{2};  // of all stages together
  std::chrono::milliseconds limit = std::chrono::seconds{5};   // what takes a partner longer is a hang; scaled
  std::size_t enough = 3;                                      // points with a fault, after which it is no use to go on

  /// Kills and counts. Throws std::runtime_error when that can't be done: ptrace refused, an operation that throws.
  KillReport examine() const;

  /// The same, prints its line, and fails the test unless it is clean.
  void run() const;
};

/// A T in memory that forked children share. T is never destroyed.
template <class T>
class Inherited {
 public:
  template <class... Args>
  explicit Inherited(Args&&... args)
      : memory_(multiproc::os::map_inheritable(sizeof(T)).or_throw("memory of a test")),
        object_(new(memory_.bytes().data()) T{std::forward<Args>(args)...}) {}

  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }

 private:
  multiproc::os::Mapping memory_;
  T* object_;
};

namespace detail {

using Act = std::function<void()>;

/// All that is done to one state.
struct Play {
  Act warm_up, prepare, operation, before, blocked, unblock, after;
  std::function<void(Findings&)> check;
};

struct Stage {
  std::string name;
  std::function<void(const std::function<void(const Play&)>&)> with_fresh_state;
};

struct Rules {
  std::string name;
  KillAt kill_at;
  std::chrono::milliseconds budget;
  std::chrono::milliseconds limit;
  std::size_t enough;
};

KillReport examine(const Rules& rules, const std::vector<Stage>& stages);
void expect_clean(const KillReport& report);

template <class State>
Act bound(const std::function<void(State&)>& act, State& state) {
  return act ? Act{[&act, &state] { act(state); }} : Act{};
}

}  // namespace detail

template <class State>
KillReport KillStep<State>::examine() const {
  std::vector<detail::Stage> bound_stages;
  for (const KillStage<State>& stage : stages) {
    bound_stages.push_back({stage.name, [this, &stage](const std::function<void(const detail::Play&)>& perform) {
                              State state = setup();
                              State other = setup();
                              perform({.warm_up =
                                           [this, &other] {
                                             if (warm_up) return warm_up(other);
                                             if (prepare) prepare(other);
                                             operation(other);
                                           },
                                       .prepare = detail::bound(prepare, state),
                                       .operation = detail::bound(operation, state),
                                       .before = detail::bound(stage.before, state),
                                       .blocked = detail::bound(stage.blocked, state),
                                       .unblock = detail::bound(stage.unblock, state),
                                       .after = detail::bound(stage.after, state),
                                       .check =
                                           [this, &state](Findings& found) {
                                             if (check) check(state, found);
                                           }});
                            }});
  }
  return detail::examine({name, kill_at, budget, limit, enough}, bound_stages);
}

template <class State>
void KillStep<State>::run() const {
  detail::expect_clean(examine());
}

}  // namespace support
