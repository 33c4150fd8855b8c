// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/bytes.hpp: Bytes, an owned block of bytes that nobody fills with zeros first.
//
// A std::vector<std::byte> writes every byte twice, once as a zero. A Bytes is what the Encoder wrote, handed over
// without a copy. It is a contiguous range, so it converts to std::span<const std::byte> by itself. Move-only.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <span>
#include <utility>

namespace multiproc {

class Bytes {
 public:
  Bytes() noexcept = default;

  /// Takes over `size` bytes at `data`, which std::malloc gave.
  Bytes(std::byte* data, std::size_t size) noexcept : data_(data), size_(size) {}

  Bytes(Bytes&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  Bytes& operator=(Bytes&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  ~Bytes() { std::free(data_); }

  std::byte* data() noexcept { return data_; }
  const std::byte* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }

  std::byte* begin() noexcept { return data_; }
  std::byte* end() noexcept { return data_ + size_; }
  const std::byte* begin() const noexcept { return data_; }
  const std::byte* end() const noexcept { return data_ + size_; }
  std::byte& operator[](std::size_t i) noexcept { return data_[i]; }
  const std::byte& operator[](std::size_t i) const noexcept { return data_[i]; }

 private:
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace multiproc
