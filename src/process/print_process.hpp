// SPDX-License-Identifier: MIT
//
// src/process/print_process.hpp: what this process knows by itself of its print family: its page, its slots there, and
// which of its threads has a turn where.
//
// Stands on   print_page.hpp. Bodies: print_family.cpp.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include <multiproc/os/life_mark.hpp>

#include "process/print_page.hpp"

namespace multiproc::detail {

class PrintTurn;

struct PrintProcess {
  std::mutex mutex;  // guards the making of a page and the turns; held across fork()
  bool is_held_over_fork = false;
  bool has_forked = false;  // so a relative may have the page that we made
  std::size_t page_count = 0;
  std::atomic<int> memory{-1};
  std::atomic<PrintPage*> page{nullptr};
  std::atomic<bool> page_refused{false};
  std::atomic<os::LifeMark> mark{0};
  std::array<std::atomic<PrintSlot*>, 2> slots{};
  std::array<std::atomic<std::uint32_t>, 2> torn_seen{};
  std::atomic<std::int64_t> no_claim_before{0};  // now_ticks()
  std::atomic<std::int64_t> no_look_before{0};
  PrintTurn* turns = nullptr;
  unsigned turn_waiters = 0;
  std::atomic<std::uint32_t> turn_changes{0};
};

/// Constant-initialised and never destroyed: prints come before main() and after it.
extern constinit PrintProcess print_process;

inline constexpr os::LifeMark kNobody = ~os::LifeMark{0};  // whose life can't be proved may own nothing

/// How long a print waits for what can't be proved, and for a keeper that was stopped.
inline constexpr std::chrono::milliseconds kPrintPatience{100};

/// The steady clock.
std::int64_t now_ticks() noexcept;
std::int64_t ticks_of(std::chrono::nanoseconds time) noexcept;

/// The LifeMark of this process, or kNobody.
os::LifeMark own_mark() noexcept;

/// Whether the process of an owner word is proved to have ended.
bool is_dead(std::uint64_t owner) noexcept;

/// The page, made if need be. Null: the kernel refuses.
PrintPage* own_page() noexcept;

/// The slot of a stream of this process, claimed if need be. Null: there is none to be had, now or ever.
PrintSlot* own_slot(PrintStream stream) noexcept;

/// A slot for one long print to any FILE; to be freed by the keeper. Null: as above.
PrintSlot* borrow_slot(PrintPage& page) noexcept;

}  // namespace multiproc::detail
