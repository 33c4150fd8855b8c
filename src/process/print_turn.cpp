// SPDX-License-Identifier: MIT

#include "process/print_turn.hpp"

#include <climits>
#include <cstdint>
#include <mutex>

#include <multiproc/deadline.hpp>
#include <multiproc/os/futex.hpp>

#include "process/print_process.hpp"

namespace multiproc::detail {

PrintTurn::PrintTurn(const os::Target& target) : target_(target) {
  PrintProcess& process = print_process;
  std::unique_lock lock(process.mutex);
  while (is_taken()) {
    const std::uint32_t seen = process.turn_changes.load();
    ++process.turn_waiters;
    lock.unlock();
    (void)os::futex_wait(process.turn_changes, seen, Deadline::never());
    lock.lock();
    --process.turn_waiters;
  }
  next_ = process.turns;
  process.turns = this;
}

PrintTurn::~PrintTurn() {
  PrintProcess& process = print_process;
  const std::scoped_lock lock(process.mutex);
  PrintTurn** at = &process.turns;
  while (*at != nullptr && *at != this) at = &(*at)->next_;
  if (*at != nullptr) *at = next_;  // null in a child that was forked out of a turn
  process.turn_changes.fetch_add(1);
  if (process.turn_waiters != 0) (void)os::futex_wake(process.turn_changes, INT_MAX);
}

bool PrintTurn::is_taken() const noexcept {
  const PrintTurn* turn = print_process.turns;
  while (turn != nullptr && !turn->target_.same_as(target_)) turn = turn->next_;
  return turn != nullptr;
}

}  // namespace multiproc::detail
