// SPDX-License-Identifier: MIT

#include <multiproc/shm/journal.hpp>

#include <cstring>

namespace multiproc::detail {

namespace {

struct Trailer {
  std::uint64_t offset;
  std::uint64_t size;
};
static_assert(sizeof(Trailer) == Journal::kEntry);

}  // namespace

bool Journal::keep(std::byte* base, std::uint64_t offset, std::size_t size) noexcept {
  const std::uint64_t used = this->used();
  if (size > room_ || room_ - used < taken_by(size)) return false;
  std::byte* const end = base + at_ + used + taken_by(size);
  std::memcpy(base + at_ + used, base + offset, size);
  const Trailer trailer{offset, size};
  std::memcpy(end - sizeof trailer, &trailer, sizeof trailer);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  used_.store(used + taken_by(size), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return true;
}

void Journal::undo(std::byte* base, std::uint64_t mark) noexcept {
  for (std::uint64_t used = this->used(); used > mark;) {
    Trailer trailer;
    std::memcpy(&trailer, base + at_ + used - sizeof trailer, sizeof trailer);
    used -= taken_by(static_cast<std::size_t>(trailer.size));
    std::memcpy(base + trailer.offset, base + at_ + used, static_cast<std::size_t>(trailer.size));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    used_.store(used, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
}

}  // namespace multiproc::detail
