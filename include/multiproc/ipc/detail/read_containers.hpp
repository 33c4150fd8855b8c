// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/read_containers.hpp: everything that has a length, out of its bytes.
//
// The bytes may be anybody's. Nothing is allocated for a length before read_length() has shown that the bytes left can
// hold it, and where elements are larger in memory than on the wire, containers grow as elements really come.
#pragma once

#include <algorithm>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

#include <multiproc/ipc/detail/decoder.hpp>
#include <multiproc/ipc/detail/kind.hpp>

namespace multiproc::detail {

template <class T>
T load_flat(const std::byte* from) {
  if constexpr (std::is_trivially_default_constructible_v<T> && std::is_move_constructible_v<T>) {
    T value;
    std::memcpy(static_cast<void*>(std::addressof(value)), from, sizeof value);
    return value;  // NOLINT(clang-analyzer-core.uninitialized.UndefReturn): the analyzer does not follow the memcpy
  } else {
    struct Raw {
      alignas(T) std::byte bytes[sizeof(T)];
    } raw;
    std::memcpy(raw.bytes, from, sizeof raw.bytes);
    return std::bit_cast<T>(raw);
  }
}

/// Walks over elements that lie in a message, aligned or not.
template <class T>
struct FlatIterator {
  using iterator_category = std::random_access_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = const T*;
  using reference = T;

  const std::byte* at = nullptr;

  T operator*() const { return load_flat<T>(at); }
  T operator[](difference_type n) const { return load_flat<T>(at + n * step); }
  FlatIterator& operator++() { return *this += 1; }
  FlatIterator operator++(int) { return {std::exchange(at, at + step)}; }
  FlatIterator& operator--() { return *this += -1; }
  FlatIterator operator--(int) { return {std::exchange(at, at - step)}; }
  FlatIterator& operator+=(difference_type n) {
    at += n * step;
    return *this;
  }
  FlatIterator& operator-=(difference_type n) { return *this += -n; }
  friend FlatIterator operator+(FlatIterator i, difference_type n) { return i += n; }
  friend FlatIterator operator+(difference_type n, FlatIterator i) { return i += n; }
  friend FlatIterator operator-(FlatIterator i, difference_type n) { return i -= n; }
  friend difference_type operator-(FlatIterator a, FlatIterator b) { return (a.at - b.at) / step; }
  auto operator<=>(const FlatIterator&) const = default;

 private:
  static constexpr difference_type step = sizeof(T);
};

inline bool read_flag(Decoder& from, std::string_view what) {
  const auto byte = std::to_integer<std::uint8_t>(*from.take(1, what));
  if (byte > 1) [[unlikely]]
    throw_bad_value(what, "neither 0 nor 1", byte);
  return byte != 0;
}

inline void read_zero(Decoder& from, std::string_view what) {
  const auto byte = std::to_integer<std::uint8_t>(*from.take(1, what));
  if (byte != 0) [[unlikely]]
    throw_bad_value(what, "not 0", byte);
}

template <class T>
T read_element(Decoder& from) {
  if constexpr (needs_guard<T>) read_zero(from, type_name<T>());
  return read_value<T>(from);
}

template <class T>
void reserve_what_is_backed(Decoder& from, T& container, std::size_t length) {
  if constexpr (requires { container.reserve(length); })
    container.reserve(std::min(length, from.left() / sizeof(typename T::value_type) + 1));
}

/// A flat_run out of `length` elements at `first`, with one copy.
template <class T>
T load_run(const std::byte* first, std::size_t length) {
  using Element = typename T::value_type;
  // Pointers let the container copy in one go; an address that does not suit the elements must not become one.
  if (reinterpret_cast<std::uintptr_t>(first) % alignof(Element) == 0) {
    const auto* elements = reinterpret_cast<const Element*>(first);
    return T(elements, elements + length);
  }
  const FlatIterator<Element> begin{first};
  return T(begin, begin + static_cast<std::ptrdiff_t>(length));
}

template <class T>
T read_sequence(Decoder& from) {
  using Element = typename T::value_type;
  const std::size_t length = from.read_length(least_element<Element>, type_name<T>());
  if constexpr (flat_run<T>) {
    return load_run<T>(from.take(length * sizeof(Element), type_name<T>()), length);
  } else if constexpr (BackGrowing<T>) {
    T sequence;
    reserve_what_is_backed(from, sequence, length);
    for (std::size_t i = 0; i < length; ++i) sequence.push_back(read_element<Element>(from));
    return sequence;
  } else {
    T sequence;
    auto last = sequence.before_begin();
    for (std::size_t i = 0; i < length; ++i) last = sequence.insert_after(last, read_element<Element>(from));
    return sequence;
  }
}

template <class T>
T read_set(Decoder& from) {
  using Key = typename T::key_type;
  const std::size_t length = from.read_length(least_element<Key>, type_name<T>());
  T set;
  reserve_what_is_backed(from, set, length);
  for (std::size_t i = 0; i < length; ++i) set.emplace_hint(set.end(), read_element<Key>(from));
  return set;
}

template <class T>
T read_map(Decoder& from) {
  using Key = typename T::key_type;
  using Mapped = typename T::mapped_type;
  const std::size_t length =
      from.read_length(least_element<Key> + least_size<std::remove_cv_t<Mapped>>(), type_name<T>());
  T map;
  reserve_what_is_backed(from, map, length);
  for (std::size_t i = 0; i < length; ++i) {
    Key key = read_element<Key>(from);
    map.emplace_hint(map.end(), std::move(key), read_value<Mapped>(from));
  }
  return map;
}

template <class Set>
void read_bits(const std::byte* from, std::size_t count, Set set) {
  for (std::size_t i = 0; i < count; ++i) set(i, (std::to_integer<unsigned>(from[i / 8]) >> (i % 8) & 1U) != 0);
}

template <class T>
T read_bit_sequence(Decoder& from) {
  std::uint64_t count = 0;
  std::memcpy(&count, from.take(sizeof count, type_name<T>()), sizeof count);
  if (count / 8 > from.left()) throw_too_long(type_name<T>(), count, 1, from.left());
  const std::byte* bytes = from.take(static_cast<std::size_t>((count + 7) / 8), type_name<T>());
  T bits;
  bits.reserve(static_cast<std::size_t>(count));
  read_bits(bytes, static_cast<std::size_t>(count), [&bits](std::size_t, bool bit) { bits.push_back(bit); });
  return bits;
}

}  // namespace multiproc::detail
