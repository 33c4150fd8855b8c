// SPDX-License-Identifier: MIT

#include "process/cell_page.hpp"

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>

#include <multiproc/process/task.hpp>

namespace multiproc::detail {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kCell = 256;
constexpr std::size_t kCells = kPage / kCell - 1;
constexpr std::uint32_t kAllUsed = (1U << kCells) - 1;

// No lock, which a fork might leave taken. A forked child has copies of its parent's cells, and gives back those.
struct alignas(kPage) CellPage {
  std::atomic<std::uint32_t> used{0};  // a bit for each cell
  alignas(kCell) std::byte cells[kCells][kCell];
};
static_assert(sizeof(CellPage) == kPage);

constinit CellPage page{};

}  // namespace

void* take_cell(std::size_t size) {
  std::uint32_t used = page.used.load(std::memory_order_relaxed);
  while (size <= kCell && used != kAllUsed) {
    const auto cell = static_cast<unsigned>(std::countr_one(used));
    if (page.used.compare_exchange_weak(used, used | 1U << cell, std::memory_order_acquire)) return page.cells[cell];
  }
  return ::operator new(size);
}

void give_cell(void* at) noexcept {
  const std::size_t offset = reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(page.cells);
  if (offset >= sizeof page.cells) return ::operator delete(at);
  page.used.fetch_and(~(1U << offset / kCell), std::memory_order_release);
}

}  // namespace multiproc::detail
