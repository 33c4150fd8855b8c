// SPDX-License-Identifier: MIT
//
// src/process/print_page.hpp: the page on which the processes of one program tree tell each other what they print.
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
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

#include <multiproc/os/life_mark.hpp>
#include <multiproc/os/output.hpp>

namespace multiproc::detail {

inline constexpr std::size_t kPrintSlots = 1024;
inline constexpr std::size_t kPrintWords = kPrintSlots / 64;

/// What PrintSlot::busy holds.
inline constexpr std::uint32_t kIdle = 0;
inline constexpr std::uint32_t kBusy = 1;     // printing
inline constexpr std::uint32_t kAwaited = 3;  // and somebody sleeps until it is not

struct alignas(64) PrintSlot {
  std::atomic<std::uint64_t> owner;
  std::atomic<std::uint64_t> device;
  std::atomic<std::uint64_t> inode;
  std::atomic<std::uint32_t> busy;
  std::atomic<std::uint32_t> stream;  // a PrintStream; kOther: a long print to another FILE
};
static_assert(sizeof(PrintSlot) == 64);

using PrintBits = std::array<std::atomic<std::uint64_t>, kPrintWords>;

struct PrintPage {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t size;
  std::uint64_t pid_namespace;
  alignas(64) PrintBits long_prints;
  std::atomic<std::uint32_t> crowded;     // somebody prints long without a slot here: from then on everybody is exact
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

// --- owners ----------------------------------------------------------------------------------------------------------

// An owner word: a LifeMark and one of these; or 0, a free slot; or kTorn, which belongs to nobody.
inline constexpr std::uint64_t kPrinting = 1;
inline constexpr std::uint64_t kLong = 2;
inline constexpr std::uint64_t kTorn = 3;
inline constexpr int kStateBits = 64 - os::kLifeMarkBits;

constexpr std::uint64_t owner_word(os::LifeMark mark, std::uint64_t state) {
  return (mark << kStateBits) | state;
}
constexpr os::LifeMark mark_of(std::uint64_t word) {
  return word >> kStateBits;
}
constexpr std::uint64_t state_of(std::uint64_t word) {
  return word & ((std::uint64_t{1} << kStateBits) - 1);
}

inline bool leads_to(const PrintSlot& slot, const os::Target& target) noexcept {
  return slot.device.load() == target.device && slot.inode.load() == target.inode;
}

inline void set_target(PrintSlot& slot, const os::Target& target) noexcept {
  slot.device.store(target.device);
  slot.inode.store(target.inode);
}

// --- bits ------------------------------------------------------------------------------------------------------------

constexpr std::uint64_t bit_of(std::size_t slot) {
  return std::uint64_t{1} << (slot % 64);
}

inline void raise(PrintBits& bits, std::size_t slot) noexcept {
  bits[slot / 64].fetch_or(bit_of(slot));
}
inline void lower(PrintBits& bits, std::size_t slot) noexcept {
  bits[slot / 64].fetch_and(~bit_of(slot));
}
inline bool is_raised(const PrintBits& bits, std::size_t slot) noexcept {
  return (bits[slot / 64].load() & bit_of(slot)) != 0;
}

/// Calls visit(index) for every raised bit until it answers false.
template <class Visit>
void for_each_raised(const PrintBits& bits, Visit visit) {
  for (std::size_t word = 0; word < bits.size(); ++word) {
    for (std::uint64_t left = bits[word].load(); left != 0; left &= left - 1) {
      if (!visit(word * 64 + static_cast<std::size_t>(std::countr_zero(left)))) return;
    }
  }
}

inline std::size_t index_of(const PrintPage& page, const PrintSlot& slot) noexcept {
  return static_cast<std::size_t>(&slot - page.slots.data());
}

}  // namespace multiproc::detail
