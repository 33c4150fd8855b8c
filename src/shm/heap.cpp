// SPDX-License-Identifier: MIT

#include <multiproc/shm/heap.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <new>
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

std::size_t size_of(std::size_t index) noexcept {
  if (index < 4) return (index + 1) * 16;
  const std::size_t power = 6 + (std::min(index, HeapHead::kClasses - 1) - 4) / 4;
  return (std::size_t{1} << power) + (((index - 4) % 4 + 1) << (power - 2));
}

// The class of the largest block that has room there: at least 16 bytes.
std::size_t class_within(std::size_t bytes) noexcept {
  const SizeClass kind = class_of(bytes);
  return kind.size <= bytes || kind.index == 0 ? kind.index : kind.index - 1;
}

std::uint64_t rounded_up(std::uint64_t value, std::uint64_t to) noexcept {
  return (value + to - 1) / to * to;
}

[[noreturn]] void throw_full(std::size_t size, const HeapHead& head) {
  throw SystemError(ENOSPC, "a shared container of at most " + std::to_string(head.limit - head.first) + " bytes has " +
                                std::to_string(head.limit - std::min(head.top, head.limit)) + " left, and not " +
                                std::to_string(size) + ". Make it with a larger max_bytes");
}

struct StepTrailer {
  std::uint64_t offset;
  std::uint64_t size;
};

}  // namespace

void Kept::add(std::uint64_t offset, std::size_t size) {
  if (size == 0) return;
  std::uint64_t begin = offset;
  std::uint64_t end = offset + size;
  auto next = ranges_.upper_bound(begin);
  if (next != ranges_.begin()) {
    const auto before = std::prev(next);
    if (before->second >= end) return;
    if (before->second >= begin) {
      begin = before->first;
      next = before;
    }
  }
  while (next != ranges_.end() && next->first <= end) {
    end = std::max(end, next->second);
    next = ranges_.erase(next);
  }
  ranges_.emplace_hint(next, begin, end);
}

void Kept::remember(const std::byte* base, std::uint64_t offset, std::size_t size) {
  const StepTrailer trailer{offset, size};
  const std::size_t before = steps_.size();
  steps_.resize(before + size + sizeof trailer);
  std::memcpy(steps_.data() + before, base + offset, size);
  std::memcpy(steps_.data() + before + size, &trailer, sizeof trailer);
}

void Kept::undo(std::byte* base, std::size_t mark) noexcept {
  while (steps_.size() > mark) {
    StepTrailer trailer;
    const std::size_t end = steps_.size() - sizeof trailer;
    std::memcpy(&trailer, steps_.data() + end, sizeof trailer);
    const std::size_t begin = end - static_cast<std::size_t>(trailer.size);
    std::memcpy(base + trailer.offset, steps_.data() + begin, static_cast<std::size_t>(trailer.size));
    steps_.resize(begin);
  }
}

void Heap::init(HeapHead& head, std::uint64_t first, std::uint64_t limit, std::uint64_t alignment,
                std::uint64_t journal_reserved) noexcept {
  head.first = rounded_up(first, std::max<std::uint64_t>(alignment, kCacheLine));
  head.top = head.first;
  head.limit = limit;
  head.alignment = std::max<std::uint64_t>(alignment, 16);
  head.reserved.store(head.first, std::memory_order_relaxed);
  head.journal_reserved.store(journal_reserved, std::memory_order_relaxed);
}

bool Heap::is_plausible(const HeapHead& head, std::uint64_t size) noexcept {
  return head.limit == size && head.first <= size && std::has_single_bit(head.alignment) && head.journal.at() <= size &&
         head.journal.room() <= size && head.journal.at() + head.journal.room() <= head.first;
}

void Heap::throw_corrupt() {
  throw InvalidState(
      "a shared container is corrupt: something wrote over its memory, and what is in it is lost. Make a new one, and "
      "look for writes through references that were good no more");
}

std::size_t Heap::rounded(std::size_t size) noexcept {
  return size > kLargestBlock ? size : class_of(size).size;
}

void Heap::require_block(std::uint64_t block, std::size_t size) const {
  if (block < head_->first || block % 16 != 0 || block > head_->top || head_->top - block < size) throw_corrupt();
}

std::uint64_t Heap::take(std::size_t size) const {
  if (size > kLargestBlock) throw_full(size, *head_);
  const SizeClass kind = class_of(size);
  if (head_->free_bytes != 0) {
    if (const std::uint64_t block = take_from_reserved_or_joined(kind.index); block != 0) return block;
  }
  const std::uint64_t block = rounded_up(head_->top, head_->alignment);
  if (block > head_->limit || head_->limit - block < kind.size) throw_full(kind.size, *head_);
  reserve_up_to(block + kind.size);
  set(head_->top, block + kind.size);
  if (kept_ != nullptr) kept_->add(block, kind.size);
  return block;
}

// 0: it is to be cut from the end.
std::uint64_t Heap::take_from_reserved_or_joined(std::size_t index) const {
  if (const std::uint64_t block = take_free(index); block != 0) return block;
  const auto end_of_new = [&] { return rounded_up(head_->top, head_->alignment) + size_of(index); };
  if (end_of_new() <= reserved()) return 0;
  if (const std::uint64_t block = take_from_larger(index); block != 0) return block;
  const bool is_worth_it = head_->free_bytes >= kFirstStep && head_->free_bytes >= used() / 2;
  if ((!is_worth_it && end_of_new() <= head_->limit) || !join()) return 0;
  if (const std::uint64_t block = take_free(index); block != 0) return block;
  return end_of_new() <= reserved() ? 0 : take_from_larger(index);
}

std::uint64_t Heap::take_free(std::size_t index) const {
  std::uint64_t& first_free = head_->free[index];
  const std::uint64_t block = first_free;
  if (block == 0) return 0;
  const std::size_t size = size_of(index);
  require_block(block, size);
  auto* const next = at<std::uint64_t>(block);
  keep(next, sizeof *next);  // whoever undoes it finds the list as it was
  set(first_free, *next);
  set(head_->free_bytes, head_->free_bytes - size);
  if (kept_ != nullptr) kept_->add(block, size);
  return block;
}

std::uint64_t Heap::take_from_larger(std::size_t index) const {
  std::size_t larger = index + 1;
  while (larger < HeapHead::kClasses && head_->free[larger] == 0) ++larger;
  if (larger >= HeapHead::kClasses) return 0;
  const std::uint64_t block = take_free(larger);
  keep(&head_->free, sizeof head_->free);
  free_run(block + size_of(index), block + size_of(larger));
  return block;
}

// The lists and free_bytes are kept already, and bytes that were free when the change began need not be.
void Heap::free_run(std::uint64_t begin, std::uint64_t end) const {
  for (begin = rounded_up(begin, head_->alignment); begin + 16 <= end;) {
    const std::size_t index = class_within(static_cast<std::size_t>(end - begin));
    *at<std::uint64_t>(begin) = head_->free[index];
    head_->free[index] = begin;
    head_->free_bytes += size_of(index);
    begin = rounded_up(begin + size_of(index), head_->alignment);
  }
}

// Makes long runs of what is free, and lets the heap end before the last of them. False: there is nothing to join, or
// more than can be undone.
bool Heap::join() const {
  struct Run {
    std::uint64_t begin;
    std::uint64_t end;
  };
  constexpr std::size_t kForOne = Journal::taken_by(sizeof(std::uint64_t));
  const std::size_t fixed = 2 * Journal::taken_by(sizeof head_->free) + 4096;
  // Half of it within a larger change, whose other steps need some too.
  const std::size_t left = kept_ == nullptr ? head_->journal.left() : head_->journal.left() / 2;
  const std::size_t most = left < fixed ? 0 : (left - fixed) / kForOne;
  std::vector<Run> runs;
  std::array<bool, HeapHead::kClasses> is_taken{};
  std::uint64_t gathered = 0;
  for (std::size_t index = HeapHead::kClasses; index-- > 0;) {
    const std::size_t before = runs.size();
    const std::size_t size = size_of(index);
    std::uint64_t block = head_->free[index];
    for (; block != 0 && runs.size() < most; block = *at<std::uint64_t>(block)) {
      require_block(block, size);
      runs.push_back({block, block + size});
    }
    if (block != 0) {  // too many
      runs.resize(before);
      continue;
    }
    is_taken[index] = true;
    gathered += (runs.size() - before) * size;
  }
  if (runs.empty() || gathered > head_->free_bytes) return false;
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.begin < b.begin; });

  for (const Run& run : runs) keep(at<std::byte>(run.begin), sizeof(std::uint64_t));
  keep(&head_->free, sizeof head_->free);
  for (std::size_t index = 0; index < HeapHead::kClasses; ++index) {
    if (is_taken[index]) head_->free[index] = 0;
  }
  set(head_->free_bytes, head_->free_bytes - gathered);
  for (std::size_t i = 0; i < runs.size();) {
    Run whole = runs[i++];
    while (i < runs.size() && runs[i].begin == rounded_up(whole.end, head_->alignment)) whole.end = runs[i++].end;
    if (whole.end == head_->top)
      set(head_->top, whole.begin);
    else
      free_run(whole.begin, whole.end);
  }
  return true;
}

void Heap::give(std::uint64_t block, std::size_t size) const {
  const SizeClass kind = class_of(size);
  require_block(block, kind.size);
  set(*at<std::uint64_t>(block), head_->given | std::uint64_t{kind.index} << kOffsetBits);
  set(head_->given, block);
}

// Each block is a change of its own, so that any number of them fits into the journal.
void Heap::free_given() const {
  while (head_->given != 0) {
    const std::uint64_t block = head_->given;
    require_block(block, sizeof(std::uint64_t));
    std::uint64_t& word = *at<std::uint64_t>(block);
    const std::uint64_t next = word & kOffset;
    const std::size_t index = word >> kOffsetBits;
    if (index >= HeapHead::kClasses) throw_corrupt();
    require_block(block, size_of(index));
    set(word, head_->free[index]);
    set(head_->free[index], block);
    set(head_->free_bytes, head_->free_bytes + size_of(index));
    set(head_->given, next);
    head_->journal.commit();
  }
}

void Heap::give_all() const {
  keep(&head_->free, sizeof head_->free);
  head_->free = {};
  set(head_->free_bytes, 0);
  set(head_->given, 0);
  set(head_->top, head_->first);
}

bool Heap::extend(std::uint64_t block, std::size_t size, std::size_t to) const {
  if (to > kLargestBlock || block + class_of(size).size != head_->top) return false;
  const std::uint64_t wanted = class_of(to).size;
  if (head_->limit - block < wanted) return false;
  reserve_up_to(block + wanted);
  const std::uint64_t before = head_->top;
  set(head_->top, block + wanted);
  if (kept_ != nullptr && block + wanted > before) {
    kept_->add(before, static_cast<std::size_t>(block + wanted - before));
  }
  return true;
}

void Heap::keep(const void* bytes, std::size_t size) const {
  const std::uint64_t offset = offset_of(bytes);
  if (kept_ == nullptr) return keep_in_journal(offset, size);
  kept_->remember(base(), offset, size);
  kept_->for_each_gap(offset, size, [this](std::uint64_t at, std::size_t part) { keep_in_journal(at, part); });
  kept_->add(offset, size);
}

bool Heap::has_room_to_keep(const void* bytes, std::size_t size, std::size_t spare) const {
  std::size_t needed = spare;
  if (kept_ == nullptr)
    needed += Journal::taken_by(size);
  else
    kept_->for_each_gap(offset_of(bytes), size,
                        [&](std::uint64_t, std::size_t part) { needed += Journal::taken_by(part); });
  return needed <= head_->journal.left();
}

void Heap::keep_in_journal(std::uint64_t offset, std::size_t size) const {
  Journal& journal = head_->journal;
  const std::uint64_t end = journal.at() + journal.used() + Journal::taken_by(size);
  const std::uint64_t limit = journal.at() + journal.room();
  if (const std::uint64_t reserved = head_->journal_reserved.load(std::memory_order_relaxed);
      end > reserved && end <= limit) [[unlikely]] {
    const std::uint64_t generous = std::min(limit, std::max(rounded_up(end, kFirstStep), reserved * 2));
    segment_->reserve(static_cast<std::size_t>(reserved), static_cast<std::size_t>(generous - reserved));
    head_->journal_reserved.store(generous, std::memory_order_release);
  }
  if (journal.keep(base(), offset, size)) return;
  throw InvalidState(
      "a change of a shared container is too large to be undone, should its process be killed: its journal has " +
      std::to_string(journal.room()) + " bytes. Do it in several steps");
}

// Not undone: what is reserved serves the next one.
void Heap::reserve_up_to(std::uint64_t end) const {
  const std::uint64_t reserved = head_->reserved.load(std::memory_order_relaxed);
  if (end <= reserved) return;
  const std::uint64_t step = std::clamp(reserved - head_->first, kFirstStep, kLargestStep);
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
