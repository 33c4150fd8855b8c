// SPDX-License-Identifier: MIT
//
// support/kill_step_victim.hpp: the processes of kill_step.hpp: the one that is stepped and killed, and those beside
// it.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sched.h>
#include <signal.h>
#include <sys/types.h>

#include <multiproc/deadline.hpp>

#include "support/kill_step.hpp"

namespace support::detail {

/// What one process has to say, in memory that the harness sees. Never freed, never allocated: its writer may die.
struct Ledger {
  std::uint32_t lost = 0;
  std::uint32_t corrupt = 0;
  std::uint32_t leaked = 0;
  std::array<char, 1024> text{};

  void note(std::string_view what) noexcept;
};

/// Does it; an exception or a failed expectation goes to the ledger as corrupt.
void guarded(const Act& act, std::string_view what, Ledger& ledger) noexcept;

/// While it lives: SIGCHLD waits to be asked for, and orphans of our children become our children.
class Watch {
 public:
  Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  /// Forks a child with the signal mask and processors of before, which dies with this thread and ends when `body`
  /// returns.
  pid_t fork(const Act& body) const;

 private:
  sigset_t mask_;
  cpu_set_t processors_;  // of this thread; a victim is held on one of them
};

/// A forked child: killed and reaped when it goes.
class Helper {
 public:
  Helper(const Watch& watch, const Act& body) : pid_(watch.fork(body)) {}
  Helper(const Helper&) = delete;
  Helper& operator=(const Helper&) = delete;
  ~Helper();

  /// Its wait status, once it has ended.
  std::optional<int> ended();
  bool ends_until(multiproc::Deadline deadline);
  /// Whether it sleeps in the kernel and did so a moment ago.
  bool falls_asleep_until(multiproc::Deadline deadline);

 private:
  pid_t pid_;
  std::optional<int> status_{};
};

enum class Stop {
  at_point,
  at_end,  // of the operation
  asleep,  // in a system call, and nothing wakes it
  gone,    // ended, or about to: a signal that ends it
};

/// The child that is stepped. Stands right before its operation when it is made; killed when it goes.
class Victim {
 public:
  Victim(const Watch& watch, const Play& play, KillAt kill_at, Ledger& ledger, std::chrono::milliseconds limit);
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;
  ~Victim() { kill(); }

  /// To the next kill point. A sleep is ended by `wake` if there is one, and otherwise may end by itself.
  Stop step(const Act& wake);
  /// As step(), but stays asleep.
  Stop step_or_sleep();
  /// Runs until it has come `times` times to this place. nullopt: this machine has no breakpoint to give.
  std::optional<Stop> run_to(std::uintptr_t place, std::size_t times, const Act& wake);

  bool slept() const noexcept { return slept_; }  // in the last step
  std::uintptr_t place() const;                   // of its next instruction; 0 where that can't be asked
  std::string why_gone() const;
  void kill() noexcept;

 private:
  Stop resume(int request, const Act* wake);
  Stop wait_for_stop(std::chrono::milliseconds patience);

  pid_t pid_ = -1;
  int step_request_;
  std::chrono::milliseconds limit_;
  int status_ = 0;
  int signal_ = 0;  // to be passed on with the next step
  bool slept_ = false;
  bool was_woken_ = false;
  cpu_set_t processors_;
};

/// Where a victim comes by on its way, as the first one showed it.
class Path {
 public:
  static Path of(Victim& victim, const Act& wake, KillAt kill_at);

  std::size_t points() const noexcept { return places_.size(); }
  /// Points on the way to which it sleeps.
  const std::vector<std::size_t>& sleeps() const noexcept { return sleeps_; }

  /// " at program+0x1234", for addr2line; empty where it isn't known.
  std::string name_of(std::size_t point) const;

  /// Whether it stands there.
  bool leads_to(const Victim& victim, std::size_t point) const;

  /// Brings a new victim there.
  Stop lead(Victim& victim, std::size_t point, const Act& wake) const;

 private:
  void count_visits();

  std::vector<std::uintptr_t> places_;
  std::vector<std::size_t> visits_;  // of the same place up to here; 0: no breakpoint can count them
  std::vector<std::size_t> sleeps_;
};

}  // namespace support::detail
