// SPDX-License-Identifier: MIT
//
// src/process/print_turn.hpp: a turn among the threads of this process at one target. Record locks keep processes
// apart and do not tell threads from each other.
//
// Fork        The turns of other threads are not the child's: they are forgotten there.
#pragma once

#include <multiproc/os/output.hpp>

namespace multiproc::detail {

class PrintTurn {
 public:
  /// Waits for the turn.
  explicit PrintTurn(const os::Target& target);
  ~PrintTurn();
  PrintTurn(const PrintTurn&) = delete;
  PrintTurn& operator=(const PrintTurn&) = delete;

 private:
  bool is_taken() const noexcept;

  os::Target target_;
  PrintTurn* next_ = nullptr;
};

}  // namespace multiproc::detail
