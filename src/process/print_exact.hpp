// SPDX-License-Identifier: MIT
//
// src/process/print_exact.hpp: the way of a print that must be kept apart from others: a long one, one while others
// print long, one after a torn text.
//
// Death       Killed in the middle of a long print, we leave our bit: the next who comes this way finds us dead there.
// Stands on   print_process.hpp, print_keeper.hpp, os/futex.hpp.
#pragma once

#include <multiproc/os/output.hpp>

#include "process/print_page.hpp"

namespace multiproc::detail {

/// A print on the exact path. To be made when this process and thread alone may print to `target` (its turn, its record
/// lock); waits until the relatives let it be, as far as those can't do.
class ExactPrint {
 public:
  /// `is_long`: not one write that the kernel keeps whole.
  ExactPrint(PrintStream stream, const os::Target& target, bool is_long) noexcept;
  ~ExactPrint();
  ExactPrint(const ExactPrint&) = delete;
  ExactPrint& operator=(const ExactPrint&) = delete;

  /// Whether a torn text stands at the end of the target: begin with a newline.
  bool after_torn_text() const noexcept { return after_torn_text_; }

  /// This text too was left torn, by a failure.
  void leave_torn() noexcept { leaves_torn_ = true; }

 private:
  void begin_long(PrintStream stream) noexcept;
  void end_long() noexcept;

  os::Target target_;
  PrintPage* page_ = nullptr;
  PrintSlot* slot_ = nullptr;
  bool is_borrowed_ = false;  // the slot is for this print alone
  bool after_torn_text_ = false;
  bool leaves_torn_ = false;
};

/// A short print to `target` failed in the middle: as leave_torn().
void note_torn_text(const os::Target& target) noexcept;

}  // namespace multiproc::detail
