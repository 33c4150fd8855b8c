// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/encoder.hpp: Encoder, which appends values to bounded memory. ../encode.hpp is the one to
// include.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

#include <multiproc/ipc/detail/archive.hpp>
#include <multiproc/ipc/detail/bytes.hpp>
#include <multiproc/os/fd.hpp>

namespace multiproc {

/// Appends values to a buffer that grows, or to the caller's memory first. Not to be copied, moved or shared by
/// threads.
class Encoder final : public cereal::detail::OutputArchiveBase, public cereal::MultiprocArchive {
 public:
  using is_loading = std::false_type;
  using is_saving = std::true_type;

  /// Into memory of its own.
  Encoder() noexcept = default;

  /// Into `room` while it suffices: what does not fit moves to memory of the encoder's own, what was written included,
  /// and fits() is false from then on. Nothing has to be encoded twice.
  explicit Encoder(std::span<std::byte> room) noexcept
      : begin_(room.data()), cursor_(room.data()), end_(room.data() + room.size()) {}

  Encoder(const Encoder&) = delete;
  Encoder& operator=(const Encoder&) = delete;
  ~Encoder() noexcept override { std::free(own_); }

  /// Encodes all of them, in this order.
  template <class... Values>
  Encoder& operator()(Values&&... values) {
    (detail::write_value(*this, values), ...);
    return *this;
  }
  template <class Value>
  Encoder& operator&(Value&& value) {
    return (*this)(value);
  }
  template <class Value>
  Encoder& operator<<(Value&& value) {
    return (*this)(value);
  }

  /// `size` bytes as they are.
  void write(const void* data, std::size_t size) {
    if (size > static_cast<std::size_t>(end_ - cursor_)) [[unlikely]]
      grow(size);
    if (size != 0) std::memcpy(cursor_, data, size);
    cursor_ += size;
  }
  void write(std::span<const std::byte> bytes) { write(bytes.data(), bytes.size()); }

  /// `size` bytes for the caller to fill at once.
  std::byte* append(std::size_t size) {
    if (size > static_cast<std::size_t>(end_ - cursor_)) [[unlikely]]
      grow(size);
    return std::exchange(cursor_, cursor_ + size);
  }

  /// Makes sure that `more` bytes fit without another growth.
  void reserve(std::size_t more) {
    if (more > static_cast<std::size_t>(end_ - cursor_)) grow(more);
  }

  /// Gives a descriptor to the message. The bytes say where it stands among the others.
  void attach(os::Fd fd);

  /// Is everything still in the room that the constructor was given?
  bool fits() const noexcept { return own_ == nullptr; }

  std::size_t size() const noexcept { return static_cast<std::size_t>(cursor_ - begin_); }
  std::span<const std::byte> bytes() const noexcept { return {begin_, size()}; }
  std::vector<os::Fd>& fds() noexcept { return fds_; }

  /// What was encoded so far, without a copy unless it lies in the caller's room; the encoder is empty afterwards.
  Encoded take() {
    if (own_ == nullptr && cursor_ != begin_) own_room();
    Encoded message{Bytes(std::exchange(own_, nullptr), size()), std::move(fds_)};
    begin_ = cursor_ = end_ = nullptr;
    fds_.clear();
    state_.reset();
    return message;
  }

  // cereal's names, and what its wrappers need.
  void saveBinary(const void* data, std::size_t size) { write(data, size); }
  void defer(std::function<void()> job);
  void serializeDeferments();
  bool first_visit(const void* object, std::type_index type);  // for virtual bases: at most once each
  template <class T>
  std::uint32_t registerClassVersion() {
    const std::type_index type(typeid(T));
    // Only looked up, where cereal would insert: threads may encode at the same time.
    const auto& known = cereal::detail::StaticObject<cereal::detail::Versions>::getInstance().mapping;
    const auto registered = known.find(type.hash_code());
    const std::uint32_t version = registered == known.end() ? cereal::detail::Version<T>::version : registered->second;
    if (first_version_of(type)) write(&version, sizeof version);
    return version;
  }

 private:
  friend class detail::Nested<Encoder>;

  void grow(std::size_t more);
  void own_room();
  bool first_version_of(std::type_index type);
  detail::ArchiveState& state();

  std::byte* begin_ = nullptr;
  std::byte* cursor_ = nullptr;
  std::byte* end_ = nullptr;
  std::byte* own_ = nullptr;  // what std::malloc gave; null while begin_ is the caller's or nothing was written
  std::vector<os::Fd> fds_;
  unsigned depth_ = 0;
  std::unique_ptr<detail::ArchiveState, detail::DeleteArchiveState> state_;
};

}  // namespace multiproc
