// SPDX-License-Identifier: MIT

#include <multiproc/shm/heap.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc::detail {

namespace {

constexpr std::uint64_t kFirstStep = std::uint64_t{64} << 10;
constexpr std::uint64_t kLargestStep = std::uint64_t{64} << 20;
constexpr std::size_t kLargestBlock = std::size_t{1} << 60;

struct SizeClass {
  std::size_t index;
  std::size_t size;
};

SizeClass class_of(std::size_t size) noexcept {
  if (size <= 64) {
    const std::size_t index = size == 0 ? 0 : (size - 1) / 16;
    return {index, (index + 1) * 16};
  }
  const auto power = static_cast<unsigned>(std::bit_width(size - 1)) - 1;  // at least 6
  const std::size_t quarter = ((size - 1) >> (power - 2)) & 3;
  return {4 + (power - 6) * 4 + quarter, (std::size_t{1} << power) + ((quarter + 1) << (power - 2))};
}

std::uint64_t rounded_up(std::uint64_t value, std::uint64_t to) noexcept {
  return (value + to - 1) / to * to;
}

[[noreturn]] void throw_full(std::size_t size, const HeapHead& head) {
  throw SystemError(ENOSPC, "a shared container of at most " + std::to_string(head.limit) + " bytes has " +
                                std::to_string(head.limit - std::min(head.top, head.limit)) + " left, and not " +
                                std::to_string(size) + ". Make it with a larger max_bytes");
}

}  // namespace

void Heap::init(HeapHead& head, std::uint64_t first, std::uint64_t limit, std::uint64_t alignment) noexcept {
  head.first = rounded_up(first, std::max<std::uint64_t>(alignment, kCacheLine));
  head.top = head.first;
  head.limit = limit;
  head.alignment = std::max<std::uint64_t>(alignment, 16);
  head.reserved.store(first, std::memory_order_relaxed);
}

bool Heap::is_plausible(const HeapHead& head, std::uint64_t size) noexcept {
  return head.limit == size && head.first <= head.top && head.top <= size && head.reserved.load() <= size &&
         std::has_single_bit(head.alignment) && head.journal.at() <= size && head.journal.room() <= size &&
         head.journal.at() + head.journal.room() <= head.first && head.journal.used() <= head.journal.room();
}

std::size_t Heap::rounded(std::size_t size) noexcept {
  return size > kLargestBlock ? size : class_of(size).size;
}

std::uint64_t Heap::take(std::size_t size) const {
  if (size > kLargestBlock) throw_full(size, *head_);
  const SizeClass kind = class_of(size);
  std::uint64_t& first_free = head_->free[kind.index];
  if (const std::uint64_t block = first_free; block != 0 && head_->has_given == 0) {
    auto* const next = at<std::uint64_t>(block);
    keep(next, sizeof *next);  // whoever undoes it finds the list as it was
    set(first_free, *next);
    return block;
  }
  const std::uint64_t block = rounded_up(head_->top, head_->alignment);
  if (block > head_->limit || head_->limit - block < kind.size) throw_full(kind.size, *head_);
  reserve_up_to(block + kind.size);
  set(head_->top, block + kind.size);
  return block;
}

void Heap::give(std::uint64_t block, std::size_t size) const {
  std::uint64_t& first_free = head_->free[class_of(size).index];
  head_->has_given = 1;
  set(*at<std::uint64_t>(block), first_free);
  set(first_free, block);
}

void Heap::give_all() const {
  keep(&head_->free, sizeof head_->free);
  head_->free = {};
  set(head_->top, head_->first);
}

bool Heap::extend(std::uint64_t block, std::size_t size, std::size_t to) const {
  if (to > kLargestBlock || block + class_of(size).size != head_->top) return false;
  const std::uint64_t wanted = class_of(to).size;
  if (head_->limit - block < wanted) throw_full(to, *head_);
  reserve_up_to(block + wanted);
  set(head_->top, block + wanted);
  return true;
}

void Heap::keep(const void* bytes, std::size_t size) const {
  const auto offset = static_cast<std::uint64_t>(static_cast<const std::byte*>(bytes) - base());
  if (head_->journal.keep(base(), offset, size)) return;
  throw InvalidState(
      "a change of a shared container is too large to be undone, should its process be killed: its "
      "journal has " +
      std::to_string(head_->journal.room()) + " bytes. Do it in several steps");
}

// Not undone: what is reserved serves the next one.
void Heap::reserve_up_to(std::uint64_t end) const {
  const std::uint64_t reserved = head_->reserved.load(std::memory_order_relaxed);
  if (end <= reserved) return;
  const std::uint64_t step = std::clamp(reserved, kFirstStep, kLargestStep);
  const std::uint64_t generous = std::min(head_->limit, std::max(rounded_up(end, kFirstStep), reserved + step));
  try {
    segment_->reserve(reserved, generous - reserved);
    head_->reserved.store(generous, std::memory_order_release);
  } catch (const SystemError&) {
    if (end == generous) throw;
    segment_->reserve(reserved, end - reserved);
    head_->reserved.store(end, std::memory_order_release);
  }
}

}  // namespace multiproc::detail
