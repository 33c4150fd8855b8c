// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/cereal_wrappers.hpp: what users' cereal functions wrap values in, and what our archives do with
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <multiproc/ipc/detail/decoder.hpp>
#include <multiproc/ipc/detail/encoder.hpp>

namespace multiproc::detail {

inline void write_length(Encoder& to, std::uint64_t length) {
  to.write(&length, sizeof length);
}

/// known is false: T is none of them.
template <class T>
struct Wrapper {
  static constexpr bool known = false;
};

template <class T>
struct Wrapper<cereal::NameValuePair<T>> {
  static constexpr bool known = true;
  static void write(Encoder& to, const cereal::NameValuePair<T>& pair) { write_value(to, pair.value); }
  static void read(Decoder& from, cereal::NameValuePair<T>& pair) { read_into(from, pair.value); }
};

template <class T>
struct Wrapper<cereal::SizeTag<T>> {
  static constexpr bool known = true;
  static void write(Encoder& to, const cereal::SizeTag<T>& tag) {
    write_length(to, static_cast<std::uint64_t>(tag.size));
  }
  // The user's code is about to make room for this many elements, each of which takes at least a byte.
  static void read(Decoder& from, cereal::SizeTag<T>& tag) {
    tag.size = static_cast<std::remove_reference_t<T>>(from.read_length(1, "a cereal size tag"));
  }
};

template <class T>
struct Wrapper<cereal::BinaryData<T>> {
  static constexpr bool known = true;
  static void write(Encoder& to, const cereal::BinaryData<T>& data) {
    to.write(data.data, static_cast<std::size_t>(data.size));
  }
  static void read(Decoder& from, cereal::BinaryData<T>& data) {
    from.loadBinary(data.data, static_cast<std::size_t>(data.size));
  }
};

template <class K, class V>
struct Wrapper<cereal::MapItem<K, V>> {
  static constexpr bool known = true;
  static void write(Encoder& to, const cereal::MapItem<K, V>& item) { to(item.key, item.value); }
  static void read(Decoder& from, cereal::MapItem<K, V>& item) { from(item.key, item.value); }
};

template <class T>
struct Wrapper<cereal::DeferredData<T>> {
  static constexpr bool known = true;
  static void write(Encoder& to, const cereal::DeferredData<T>& data) {
    to.defer([&to, data] { write_value(to, data.value); });
  }
  static void read(Decoder& from, cereal::DeferredData<T>& data) {
    from.defer([&from, data]() mutable { read_into(from, data.value); });
  }
};

template <class T>
struct Wrapper<cereal::base_class<T>> {
  static constexpr bool known = true;
  static void write(Encoder& to, const cereal::base_class<T>& base) { write_value<T>(to, *base.base_ptr); }
  static void read(Decoder& from, cereal::base_class<T>& base) { read_into<T>(from, *base.base_ptr); }
};

template <class T>
struct Wrapper<cereal::virtual_base_class<T>> {
  static constexpr bool known = true;
  static void write(Encoder& to, const cereal::virtual_base_class<T>& base) {
    if (to.first_visit(base.base_ptr, typeid(T))) write_value<T>(to, *base.base_ptr);
  }
  static void read(Decoder& from, cereal::virtual_base_class<T>& base) {
    if (from.first_visit(base.base_ptr, typeid(T))) read_into<T>(from, *base.base_ptr);
  }
};

}  // namespace multiproc::detail
