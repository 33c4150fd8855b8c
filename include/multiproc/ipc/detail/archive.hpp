// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/archive.hpp: Encoder and Decoder, cereal archives over bounded memory.
//
// They are cereal archives for whoever writes `serialize(Archive& ar)`: ar(a, b), ar & a, name-value pairs, size tags,
// binary data, base classes, class versions and deferred data work. They do not stand on cereal::OutputArchive, whose
// maps cost more than most messages. Which bytes a value becomes is told in write_value.hpp; what is public, in
// ../encode.hpp, which is the header to include.
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

#include <cereal/access.hpp>
#include <cereal/details/helpers.hpp>
#include <cereal/macros.hpp>
#include <cereal/specialize.hpp>

#include <multiproc/error.hpp>
#include <multiproc/ipc/detail/bytes.hpp>
#include <multiproc/os/fd.hpp>

namespace multiproc {
class Encoder;
class Decoder;
}  // namespace multiproc

namespace cereal {

template <class Base>
struct base_class;
template <class Base>
struct virtual_base_class;

/// A base of our archives, for argument-dependent lookup only: functions that a program put into namespace cereal are
/// found for them as they are for cereal's own archives.
struct MultiprocArchive {};

namespace traits::detail {
template <class InputArchive>
struct get_output_from_input;
template <class OutputArchive>
struct get_input_from_output;
template <>
struct get_output_from_input<multiproc::Decoder> {
  using type = multiproc::Encoder;
};
template <>
struct get_input_from_output<multiproc::Encoder> {
  using type = multiproc::Decoder;
};
}  // namespace traits::detail
}  // namespace cereal

namespace multiproc {

/// An encoded value: its bytes, and the descriptors that must travel beside them.
struct Encoded {
  Bytes bytes{};
  std::vector<os::Fd> fds{};
};

namespace detail {

template <class T>
void write_value(Encoder& to, const T& value);
template <class T>
void read_into(Decoder& from, T& value);
template <class T>
T read_value(Decoder& from);

// What few values need: cereal's class versions, virtual bases and deferred data. Made on first use.
struct ArchiveState;
struct DeleteArchiveState {
  void operator()(ArchiveState* state) const noexcept;
};

// Values nest no deeper than this, in both directions: bytes that claim to nest a million levels must not eat the
// stack.
inline constexpr unsigned max_depth = 1000;

/// Counts the levels of nesting of one archive.
template <class Archive>
class Nested;

[[noreturn]] void throw_too_short(std::string_view what, std::size_t needed, std::size_t left);
[[noreturn]] void throw_too_long(std::string_view what, std::uint64_t count, std::size_t least_each, std::size_t left);
[[noreturn]] void throw_bad_value(std::string_view what, std::string_view wrong, std::uint64_t got);
[[noreturn]] void throw_refused(std::string_view what, const char* why);
[[noreturn]] void throw_too_deep(bool decoding);

}  // namespace detail

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
    std::uint32_t version = 0;
    {
      const auto lock = cereal::detail::StaticObject<cereal::detail::Versions>::lock();
      auto& versions = cereal::detail::StaticObject<cereal::detail::Versions>::getInstance();
      version = versions.find(type.hash_code(), cereal::detail::Version<T>::version);
    }
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
  T read() {
    return detail::read_value<T>(*this);
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

namespace detail {

template <class Archive>
class Nested {
 public:
  explicit Nested(Archive& archive) : archive_(archive) {
    if (archive.depth_ == max_depth) [[unlikely]]
      throw_too_deep(std::is_same_v<Archive, Decoder>);
    ++archive.depth_;
  }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
  ~Nested() { --archive_.depth_; }

 private:
  Archive& archive_;
};

}  // namespace detail
}  // namespace multiproc
