// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/write_value.hpp: which bytes a value becomes.
//
// The machine's own byte order and sizes: both ends run the same kind of machine. Lengths are 8 bytes. What may be
// copied as bytes is, ranges of it as one block. read_value.hpp is the mirror; kind.hpp lists the kinds.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <multiproc/ipc/detail/cereal_wrappers.hpp>
#include <multiproc/ipc/detail/encoder.hpp>
#include <multiproc/ipc/detail/kind.hpp>
#include <multiproc/ipc/detail/verdict.hpp>

namespace multiproc::detail {

template <class T>
void write_flat(Encoder& to, const T& value) {
  to.write(&value, sizeof value);
}

inline void write_byte(Encoder& to, std::uint8_t byte) {
  *to.append(1) = std::byte{byte};
}

/// An element of a container; see needs_guard.
template <class T>
void write_element(Encoder& to, const T& value) {
  if constexpr (needs_guard<T>) write_byte(to, 0);
  write_value(to, value);
}

template <class T>
std::size_t length_of(const T& container) {
  if constexpr (requires { container.size(); })
    return static_cast<std::size_t>(container.size());
  else
    return static_cast<std::size_t>(std::distance(container.begin(), container.end()));
}

/// Length and elements of a flat_run, which take run_size() bytes.
template <class T>
std::size_t run_size(const T& run) noexcept {
  return sizeof(std::uint64_t) + static_cast<std::size_t>(run.size()) * sizeof(typename T::value_type);
}
template <class T>
void store_run(std::byte* out, const T& run) noexcept {
  const std::uint64_t length = run.size();
  std::memcpy(out, &length, sizeof length);
  if (length != 0) std::memcpy(out + sizeof length, run.data(), run_size(run) - sizeof length);
}

template <class T>
void write_sequence(Encoder& to, const T& sequence) {
  using Element = typename T::value_type;
  const std::size_t length = length_of(sequence);
  if constexpr (flat_run<T>) {
    store_run(to.append(run_size(sequence)), sequence);
  } else {
    to.reserve(sizeof(std::uint64_t) + length * least_element<Element>);
    write_length(to, length);
    for (const auto& element : sequence) write_element(to, element);
  }
}

/// Bits, eight to a byte, the first one lowest. `bit(i)` is asked in order.
template <class Bit>
void write_bits(Encoder& to, std::size_t count, Bit bit) {
  std::byte* out = to.append((count + 7) / 8);
  for (std::size_t i = 0; i < count; i += 8) {
    unsigned byte = 0;
    for (std::size_t j = 0; j < 8 && i + j < count; ++j) byte |= unsigned{bit(i + j)} << j;
    *out++ = static_cast<std::byte>(byte);
  }
}

template <class T>
void write_variant(Encoder& to, const T& variant) {
  if (variant.valueless_by_exception())
    throw Error("encode: a variant that lost its value in an exception can't be sent");
  static_assert(std::variant_size_v<T> < 255);
  write_byte(to, static_cast<std::uint8_t>(variant.index()));
  std::visit([&to](const auto& value) { write_value(to, value); }, variant);
}

template <class T>
void write_with_cereal(Encoder& to, const T& value) {
  constexpr CerealFunctions functions = cereal_functions<T>;
  const Nested<Encoder> level(to);
  T& object = const_cast<T&>(value);  // serialize() serves both directions and is never const; cereal does the same
  const auto call = [&](auto... version) {
    if constexpr (functions.style == CerealStyle::member_serialize)
      cereal::access::member_serialize(to, object, version...);
    else if constexpr (functions.style == CerealStyle::free_serialize)
      CEREAL_SERIALIZE_FUNCTION_NAME(to, object, version...);
    else if constexpr (functions.style == CerealStyle::member_load_save)
      cereal::access::member_save(to, value, version...);
    else if constexpr (functions.style == CerealStyle::free_load_save)
      CEREAL_SAVE_FUNCTION_NAME(to, value, version...);
    else if constexpr (functions.style == CerealStyle::member_minimal)
      write_value(to, cereal::access::member_save_minimal(std::as_const(to), value, version...));
    else
      write_value(to, CEREAL_SAVE_MINIMAL_FUNCTION_NAME(std::as_const(to), value, version...));
  };
  if constexpr (functions.versioned)
    call(to.template registerClassVersion<T>());
  else
    call();
}

/// Compiles only when something of kind `unknown` may be written or read after all, which is never: says why.
template <class T>
constexpr void refuse() {
  constexpr Reason reason = refusal<T>() != Reason::none ? refusal<T>() : nature<T>();
  static_assert(NotSendable<T, T, reason>::value);
}

template <class T>
void write_value(Encoder& to, const T& value) {
  using V = std::remove_cv_t<T>;
  constexpr Kind k = kind<V>;
  if constexpr (Wrapper<V>::known) {
    Wrapper<V>::write(to, value);
  } else if constexpr (refusal<V>() != Reason::none || k == Kind::unknown) {
    refuse<V>();
  } else if constexpr (k == Kind::travel) {
    const Nested<Encoder> level(to);
    Travel<V>::encode(to, value);
  } else if constexpr (k == Kind::empty) {
    write_byte(to, 0);
  } else if constexpr (flat<V>) {
    write_flat(to, value);
  } else if constexpr (k == Kind::boolean) {
    write_byte(to, static_cast<bool>(value) ? 1 : 0);
  } else if constexpr (k == Kind::bits) {
    write_length(to, value.size());
    auto next = value.begin();
    write_bits(to, value.size(), [&next](std::size_t) { return static_cast<bool>(*next++); });
  } else if constexpr (k == Kind::bitset) {
    write_bits(to, value.size(), [&value](std::size_t i) { return value.test(i); });
  } else if constexpr (k == Kind::sequence || k == Kind::set) {
    write_sequence(to, value);
  } else if constexpr (k == Kind::map) {
    write_length(to, length_of(value));
    for (const auto& [key, mapped] : value) {
      if constexpr (needs_guard<typename V::key_type>) write_byte(to, 0);
      write_value(to, key);
      write_value(to, mapped);
    }
  } else if constexpr (k == Kind::array) {
    for (const auto& element : value) write_value(to, element);
  } else if constexpr (k == Kind::tuple) {
    std::apply([&to](const auto&... elements) { (write_value(to, elements), ...); }, value);
  } else if constexpr (k == Kind::optional || k == Kind::pointee) {
    write_byte(to, value ? 1 : 0);
    if (value) write_value(to, *value);
  } else if constexpr (k == Kind::variant) {
    write_variant(to, value);
  } else if constexpr (k == Kind::path) {
    write_value(to, value.native());
  } else if constexpr (k == Kind::cereal) {
    write_with_cereal(to, value);
  } else if constexpr (!layout<V>.seen_through) {
    static_assert(NotSendable<V, V, Reason::not_seen_through>::value);
  } else {
    const Nested<Encoder> level(to);
    detail::with_members(value, [&to](const auto&... members) { (write_value(to, members), ...); });
  }
}

/// About how many bytes `value` takes, from a look at its members' lengths: so much is reserved at once.
template <class T>
std::size_t size_hint(const T& value) {
  using V = std::remove_cv_t<T>;
  constexpr Kind k = kind<V>;
  if constexpr (flat<V>) {
    return sizeof(V);
  } else if constexpr (flat_run<V>) {
    return run_size(value);
  } else if constexpr ((k == Kind::sequence || k == Kind::map || k == Kind::set) && requires { value.size(); }) {
    using Element = std::remove_cv_t<typename V::value_type>;
    return sizeof(std::uint64_t) +
           static_cast<std::size_t>(value.size()) * std::max<std::size_t>(8, least_size<Element>());
  } else if constexpr (k == Kind::tuple) {
    return std::apply([](const auto&... elements) { return (std::size_t{0} + ... + size_hint(elements)); }, value);
  } else if constexpr (k == Kind::aggregate && layout<V>.seen_through) {
    return detail::with_members(value,
                                [](const auto&... members) { return (std::size_t{0} + ... + size_hint(members)); });
  } else {
    return std::max<std::size_t>(32, least_size<V>());
  }
}

}  // namespace multiproc::detail
