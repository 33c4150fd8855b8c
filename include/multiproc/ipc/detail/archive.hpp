// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/archive.hpp: what Encoder and Decoder have in common, and what makes cereal archives of them.
//
// They are cereal archives for whoever writes `serialize(Archive& ar)`: ar(a, b), ar & a, name-value pairs, size tags,
// binary data, base classes, class versions and deferred data work. They do not stand on cereal::OutputArchive, whose
// maps cost more than most messages.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
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

[[noreturn]] void throw_too_short(std::string_view what, std::size_t needed, std::size_t left);
[[noreturn]] void throw_too_long(std::string_view what, std::uint64_t count, std::size_t least_each, std::size_t left);
[[noreturn]] void throw_bad_value(std::string_view what, std::string_view wrong, std::uint64_t got);
[[noreturn]] void throw_refused(std::string_view what, const char* why);
[[noreturn]] void throw_too_deep(bool decoding);

/// Counts the levels of nesting of one archive, for as long as it lives.
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
