// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/decoder.hpp: Decoder, which reads values out of a message. ../encode.hpp is the one to include.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

#include <multiproc/ipc/detail/archive.hpp>
#include <multiproc/os/fd.hpp>

namespace multiproc {

/// Reads values out of a message. Whatever the bytes are, a read answers with a value or throws DecodeError: no length
/// is believed that the bytes left could not hold. The bytes must outlive the decoder. Not to be shared by threads.
class Decoder final : public cereal::detail::InputArchiveBase, public cereal::MultiprocArchive {
 public:
  using is_loading = std::true_type;
  using is_saving = std::false_type;

  explicit Decoder(std::span<const std::byte> bytes, std::vector<os::Fd> fds = {}) noexcept
      : begin_(bytes.data()), cursor_(bytes.data()), end_(bytes.data() + bytes.size()), fds_(std::move(fds)) {}

  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() noexcept override = default;

  /// The next value. Throws DecodeError.
  template <class T>
  std::remove_cv_t<T> read() {
    return detail::read_value<std::remove_cv_t<T>>(*this);
  }

  /// Decodes into all of them, in this order.
  template <class... Values>
  Decoder& operator()(Values&&... values) {
    (detail::read_into(*this, values), ...);
    return *this;
  }
  template <class Value>
  Decoder& operator&(Value&& value) {
    return (*this)(value);
  }
  template <class Value>
  Decoder& operator>>(Value&& value) {
    return (*this)(value);
  }

  /// The next `size` bytes where they lie. `what` is named in the DecodeError when there are fewer.
  const std::byte* take(std::size_t size, std::string_view what) {
    if (size > left()) [[unlikely]]
      detail::throw_too_short(what, size, left());
    return std::exchange(cursor_, cursor_ + size);
  }
  std::span<const std::byte> read_bytes(std::size_t size) { return {take(size, "bytes"), size}; }

  /// How many bytes were not read yet, and those bytes.
  std::size_t left() const noexcept { return static_cast<std::size_t>(end_ - cursor_); }
  std::span<const std::byte> rest() const noexcept { return {cursor_, left()}; }

  /// A number of things that take at least `least_each` bytes each (>= 1), or DecodeError: the bytes left can't hold
  /// them.
  std::size_t read_length(std::size_t least_each, std::string_view what) {
    std::uint64_t count = 0;
    std::memcpy(&count, take(sizeof count, what), sizeof count);
    if (count > left() / least_each) [[unlikely]]
      detail::throw_too_long(what, count, least_each, left());
    return static_cast<std::size_t>(count);
  }

  /// The descriptor that the encoder attached at this place. Throws DecodeError when there is none or it was taken.
  os::Fd take_fd();

  /// Throws DecodeError when bytes or descriptors are left over.
  void finish() const {
    if (left() != 0 || !fds_.empty()) finish_slowly();
  }

  // cereal's names, and what its wrappers need.
  void loadBinary(void* data, std::size_t size) {
    const std::byte* from = take(size, "binary data");
    if (size != 0) std::memcpy(data, from, size);
  }
  void defer(std::function<void()> job);
  void serializeDeferments();
  bool first_visit(const void* object, std::type_index type);
  template <class T>
  std::uint32_t loadClassVersion() {
    return load_class_version(std::type_index(typeid(T)));
  }

 private:
  friend class detail::Nested<Decoder>;

  void finish_slowly() const;
  std::uint32_t load_class_version(std::type_index type);
  detail::ArchiveState& state();

  const std::byte* begin_ = nullptr;
  const std::byte* cursor_ = nullptr;
  const std::byte* end_ = nullptr;
  std::vector<os::Fd> fds_;
  unsigned depth_ = 0;
  std::unique_ptr<detail::ArchiveState, detail::DeleteArchiveState> state_;
};

}  // namespace multiproc
