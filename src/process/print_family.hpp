// SPDX-License-Identifier: MIT
//
// src/process/print_family.hpp: the page on which the processes of one program tree tell each other what they print.
//
// A short text is one write that the kernel keeps whole, so it must only be kept out of the long ones, which take many
// steps. Asking the kernel for that on every line would cost more than the line. So both sides raise a flag in shared
// memory and look at the other's (Dekker): a short print sets its slot's `busy` and then looks for long prints; a
// long print sets its bit in `long_prints` and then waits for the busy ones. Whoever finds something takes the exact
// path, where a record lock on the target itself decides.
//
//     Page   magic | version | size | pid namespace
//            long_prints      one bit a slot: a long text is on its way, or its printer died on it
//            crowded, torn_count                                    (what a short print reads ends here)
//            used, torn       one bit a slot
//            keeper, gate     who may claim, bury and clear
//            slots[1024]      owner | device | inode | busy | stream
//
// A slot is one stream of one process. `owner` is its LifeMark and a state, in one word:
//     free -> printing (claimed) <-> long (a long text to device, inode) -> free;   dead in `long` -> torn -> free
//
// Death       Every word of a dead owner is cleared by whoever next takes the exact path or looks for a slot, and each
//             step of that can be repeated: the keeper may die too. A dead long print leaves its slot as `torn`: there
//             the next text must begin on a new line. A raised torn_count sends every stream to look there once.
// Stands on   os/memory.hpp, os/life_mark.hpp, os/futex.hpp.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/life_mark.hpp>
#include <multiproc/os/output.hpp>

namespace multiproc::detail {

/// Makes the family of this process, if it has none. With a descriptor it can be handed to spawned children; without,
/// only to forked ones. Where the kernel refuses both, every print takes the exact path: no failure.
/// Made without being asked before the first fork and at the first print, then without a descriptor.
void create_print_family(bool with_descriptor) noexcept;

/// The descriptor for a spawned child, close-on-exec, or -1. It stays ours.
int print_family_fd() noexcept;

/// In a spawned child: joins the parent's family. What is no such page of the same layout is closed and forgotten.
void adopt_print_family(os::Fd memory) noexcept;

/// Gives this process's slots back; the next print claims anew. Runs at exit(); for a child that ends by _exit.
void leave_print_family() noexcept;

inline constexpr std::size_t kPrintSlots = 1024;
inline constexpr std::size_t kPrintWords = kPrintSlots / 64;

struct alignas(64) PrintSlot {
  std::atomic<std::uint64_t> owner;
  std::atomic<std::uint64_t> device;
  std::atomic<std::uint64_t> inode;
  std::atomic<std::uint32_t> busy;    // 0; 1: printing; 3: and somebody sleeps until it is not
  std::atomic<std::uint32_t> stream;  // an index below; kOther: a long print to another FILE
};
static_assert(sizeof(PrintSlot) == 64);

using PrintBits = std::array<std::atomic<std::uint64_t>, kPrintWords>;

struct PrintPage {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t size;
  std::uint64_t pid_namespace;
  alignas(64) PrintBits long_prints;
  std::atomic<std::uint32_t> crowded;     // a long print found no slot: from then on everybody is exact
  std::atomic<std::uint32_t> torn_count;  // raised for each text that was left torn
  alignas(64) PrintBits used;
  PrintBits torn;
  alignas(64) std::atomic<std::uint64_t> keeper;  // LifeMark of the one who may change owners that are not its own
  std::atomic<std::uint32_t> gate;                // 1: somebody sleeps until the keeper leaves
  std::atomic<std::uint32_t> bury_at;             // so many used slots: time to look for dead owners
  alignas(4096) std::array<PrintSlot, kPrintSlots> slots;
};
static_assert(sizeof(PrintPage) == 4096 + kPrintSlots * 64);
static_assert(offsetof(PrintPage, long_prints) == 64 && offsetof(PrintPage, crowded) == 192);
static_assert(offsetof(PrintPage, used) == 256 && offsetof(PrintPage, torn) == 384);
static_assert(offsetof(PrintPage, keeper) == 512 && offsetof(PrintPage, slots) == 4096);
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);

enum PrintStream : unsigned { kStdout = 0, kStderr = 1, kOther = 2 };

/// A short print on its way; at most one a stream, so the stream must be locked. False: take the exact path instead.
class ShortPrint {
 public:
  explicit ShortPrint(PrintStream stream) noexcept;
  ~ShortPrint();
  ShortPrint(const ShortPrint&) = delete;
  ShortPrint& operator=(const ShortPrint&) = delete;

  explicit operator bool() const noexcept { return slot_ != nullptr; }

 private:
  PrintSlot* slot_ = nullptr;
};

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

/// A turn among the threads of this process at one target: record locks do not tell them apart. Waits for it.
class TargetTurn {
 public:
  explicit TargetTurn(const os::Target& target);
  ~TargetTurn();
  TargetTurn(const TargetTurn&) = delete;
  TargetTurn& operator=(const TargetTurn&) = delete;

 private:
  friend struct PrintProcess;

  os::Target target_;
  TargetTurn* next_ = nullptr;
};

}  // namespace multiproc::detail
