// SPDX-License-Identifier: MIT
//
// multiproc/ipc/encode.hpp: values as bytes, and back.
//
//     Encoded message = multiproc::encode(job);                  // message.bytes, message.fds
//     Job same = multiproc::decode<Job>(message.bytes);
//
// Encoder (detail/encoder.hpp) and Decoder (detail/decoder.hpp) do several values, handles with descriptors, and encode
// into the caller's memory; they are cereal archives as well. The encoding is that of one machine and one program: not
// a file format.
//
// Errors      Not Sendable: one line from the compiler. Bytes that are no encoding of T, were cut short, claim absurd
//             lengths, or have something left over: DecodeError. The size of what gets allocated is bounded by the
//             size of the bytes.
// Nesting     Values nest at most 1000 levels of classes deep, in both directions.
// Containers  Hash functions, comparisons and allocators do not travel: default ones are made.
// Padding     Trivially copyable aggregates go as they lie in memory, the padding between their members included,
//             except that nothing which holds a bool does: an arriving bool is always false or true.
// Stands on   sendable.hpp, cereal/access.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <multiproc/error.hpp>
#include <multiproc/ipc/detail/decoder.hpp>
#include <multiproc/ipc/detail/encoder.hpp>
#include <multiproc/ipc/detail/read_value.hpp>
#include <multiproc/ipc/detail/write_value.hpp>
#include <multiproc/ipc/sendable.hpp>
#include <multiproc/os/fd.hpp>

namespace multiproc {

namespace detail {

inline Bytes make_bytes(std::size_t size) {
  auto* memory = static_cast<std::byte*>(std::malloc(size));
  if (memory == nullptr) throw std::bad_alloc();
  return Bytes(memory, size);
}

}  // namespace detail

/// `value` as bytes, with the descriptors that must go along.
template <class T>
Encoded encode(const T& value) {
  detail::require_sendable<T>();
  if constexpr (!Sendable<T>) {
    return {};  // the compiler has said why already
  } else if constexpr (detail::flat<T> && detail::kind<T> != detail::Kind::empty) {
    Encoded message{detail::make_bytes(sizeof(T)), {}};
    std::memcpy(message.bytes.data(), &value, sizeof(T));
    return message;
  } else if constexpr (detail::flat_run<T>) {
    Encoded message{detail::make_bytes(detail::run_size(value)), {}};
    detail::store_run(message.bytes.data(), value);
    return message;
  } else {
    Encoder encoder;
    encoder.reserve(detail::size_hint(value));
    encoder(value);
    return encoder.take();
  }
}

/// The T that `bytes` and `fds` are the encoding of. Throws DecodeError.
template <class T>
T decode(std::span<const std::byte> bytes, std::vector<os::Fd> fds = {}) {
  detail::require_sendable<T>();
  if constexpr (!Sendable<T>) {
    __builtin_unreachable();
  } else {
    // What is well-formed at a glance needs no Decoder; all else gets one, and its errors.
    if constexpr (detail::flat<T> && detail::kind<T> != detail::Kind::empty) {
      if (bytes.size() == sizeof(T) && fds.empty()) [[likely]]
        return detail::load_flat<T>(bytes.data());
    } else if constexpr (detail::flat_run<T>) {
      std::uint64_t length = 0;
      if (bytes.size() >= sizeof length && fds.empty()) [[likely]] {
        std::memcpy(&length, bytes.data(), sizeof length);
        const std::size_t rest = bytes.size() - sizeof length;
        constexpr std::size_t each = sizeof(typename T::value_type);
        if (length == rest / each && rest % each == 0) [[likely]]
          return detail::load_run<T>(bytes.data() + sizeof length, static_cast<std::size_t>(length));
      }
    }
    Decoder decoder(bytes, std::move(fds));
    T value = decoder.read<T>();
    decoder.finish();
    return value;
  }
}

template <class T>
T decode(const Encoded& message) = delete;  // the descriptors have to be moved: decode<T>(m.bytes, std::move(m.fds))

template <class T>
T decode(Encoded&& message) {
  return decode<T>(message.bytes, std::move(message.fds));
}

namespace detail {

template <class T, class... Seen>
consteval std::uint64_t fingerprint_of();

template <class... Seen, class... Members>
consteval std::uint64_t fingerprint_all(Types<Members...>, std::uint64_t hash) {
  ((hash = hash_number(fingerprint_of<std::remove_cv_t<Members>, Seen...>(), hash)), ...);
  return hash;
}

/// Name and size; for aggregates the members' too, so that another version of a program is told apart.
template <class T, class... Seen>
consteval std::uint64_t fingerprint_of() {
  std::uint64_t hash = hash_number(sizeof(T), hash_text(type_name<T>()));
  if constexpr (kind<T> == Kind::aggregate && !(std::is_same_v<T, Seen> || ...)) {
    if constexpr (layout<T>.seen_through) hash = fingerprint_all<T, Seen...>(MemberTypes<T>{}, hash);
  }
  return hash;
}

}  // namespace detail

/// Tells types apart at the receiving end: the same in all processes of one binary, and for no two types of it that
/// have a name each.
template <class T>
consteval std::uint64_t type_fingerprint() {
  return detail::fingerprint_of<std::remove_cv_t<T>>();
}

}  // namespace multiproc
