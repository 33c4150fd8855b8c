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

Trailer trailer_before(const std::byte* end) noexcept {
  Trailer trailer;
  std::memcpy(&trailer, end - sizeof trailer, sizeof trailer);
  return trailer;
}

}  // namespace

bool Journal::keep(std::byte* base, std::uint64_t offset, std::size_t size) noexcept {
  const std::uint64_t used = this->used();
  if (size > room_ || used > room_ || room_ - used < taken_by(size)) return false;
  std::byte* const end = base + at_ + used + taken_by(size);
  std::memcpy(base + at_ + used, base + offset, size);
  const Trailer trailer{offset, size};
  std::memcpy(end - sizeof trailer, &trailer, sizeof trailer);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  used_.store(used + taken_by(size), std::memory_order_release);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return true;
}

bool Journal::is_sound(const std::byte* base, std::uint64_t end) const noexcept {
  const auto behind_us = static_cast<std::uint64_t>(reinterpret_cast<const std::byte*>(this + 1) - base);
  std::uint64_t used = this->used();
  if (used > room_) return false;
  while (used != 0) {
    if (used < kEntry) return false;
    const Trailer trailer = trailer_before(base + at_ + used);
    if (trailer.size > used - kEntry || taken_by(static_cast<std::size_t>(trailer.size)) > used) return false;
    if (trailer.offset < behind_us || trailer.offset > end || trailer.size > end - trailer.offset) return false;
    if (trailer.offset < at_ + room_ && trailer.offset + trailer.size > at_) return false;
    used -= taken_by(static_cast<std::size_t>(trailer.size));
  }
  return true;
}

bool Journal::undo(std::byte* base, std::uint64_t end) noexcept {
  if (!is_sound(base, end)) return false;
  for (std::uint64_t used = this->used(); used != 0;) {
    const Trailer trailer = trailer_before(base + at_ + used);
    used -= taken_by(static_cast<std::size_t>(trailer.size));
    std::memcpy(base + trailer.offset, base + at_ + used, static_cast<std::size_t>(trailer.size));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    used_.store(used, std::memory_order_release);
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  return true;
}

}  // namespace multiproc::detail
