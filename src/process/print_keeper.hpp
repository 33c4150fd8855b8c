// SPDX-License-Identifier: MIT
//
// src/process/print_keeper.hpp: the one process that may change slots of a print page which are not its own.
//
// Death       All that a keeper does can be repeated, so the place of a dead one is simply taken. A keeper waits for
//             nobody; one that was stopped by a signal is waited for in patience only.
// Stands on   print_page.hpp, os/futex.hpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include <multiproc/os/output.hpp>

#include "process/print_page.hpp"

namespace multiproc::detail {

class PrintKeeper {
 public:
  explicit PrintKeeper(PrintPage& page) noexcept;
  ~PrintKeeper();
  PrintKeeper(const PrintKeeper&) = delete;
  PrintKeeper& operator=(const PrintKeeper&) = delete;

  /// Whether we are it: another may have been stopped, or our own life can't be proved.
  explicit operator bool() const noexcept { return holds_; }

  /// A slot for a stream of this process. Null: all are in use.
  PrintSlot* claim(PrintStream stream) noexcept;

  void free(PrintSlot& slot) noexcept;

  /// A text that ends within a line stands at the end of `target`.
  void record_torn(const os::Target& target) noexcept;

  /// It is followed by a newline now.
  void forget_torn(const os::Target& target) noexcept;

  /// Long prints whose printer is dead, or whose bit outlived a keeper that was just burying them.
  void bury_long_prints() noexcept;

 private:
  bool bury(PrintSlot& slot) noexcept;
  void bury_all_dead(std::uint32_t& used) noexcept;
  void make_torn(PrintSlot& slot) noexcept;
  PrintSlot* find_free() noexcept;

  PrintPage& page_;
  bool holds_ = false;
};

}  // namespace multiproc::detail
