// SPDX-License-Identifier: MIT
//
// multiproc/sync/detail/stored.hpp: how keys and values stand in a shared container: a Shareable as it is, a
// std::string as a block of letters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>

#include <multiproc/shm/heap.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/sync/detail/store.hpp>

namespace multiproc::detail {

template <class T>
struct InStore {
  using Given = const T&;  // how it comes in
  using Seen = T&;         // what a reference to it is

  T value;

  void put(const Operation&, Given given) noexcept { std::construct_at(&value, given); }
  void replace(const Operation& call, Given given) {
    call.heap().keep(&value, sizeof value);
    value = given;
  }
  void drop(const Operation&) noexcept {}
  Seen see(std::byte*) noexcept { return value; }
  const T& view(const std::byte*) const noexcept { return value; }
};

template <>
struct InStore<std::string> {
  using Given = std::string_view;
  using Seen = std::string_view;

  std::uint64_t block;
  std::uint64_t size;

  // In a node that nobody knows yet.
  void put(const Operation& call, Given given) {
    block = given.empty() ? 0 : call.heap().take(given.size());
    size = given.size();
    if (!given.empty()) std::memcpy(call.heap().at<char>(block), given.data(), given.size());
  }
  void replace(const Operation& call, Given given) {
    const std::uint64_t old_block = block;
    const std::uint64_t old_size = size;
    call.heap().keep(this, sizeof *this);
    put(call, given);
    if (old_block != 0) call.heap().give(old_block, static_cast<std::size_t>(old_size));
  }
  void drop(const Operation& call) {
    if (block != 0) call.heap().give(block, static_cast<std::size_t>(size));
  }
  Seen see(const std::byte* base) const noexcept { return view(base); }
  std::string_view view(const std::byte* base) const noexcept {
    return {reinterpret_cast<const char*>(base + block), static_cast<std::size_t>(size)};
  }
};

/// How an error names a key, where it can be printed.
template <class Key>
std::string named(const Key& key) {
  if constexpr (std::is_convertible_v<const Key&, std::string_view>)
    return " \"" + std::string(key) + '"';
  else if constexpr (std::is_same_v<Key, char>)
    return std::string(" '") + key + '\'';
  else if constexpr (std::is_arithmetic_v<Key>)
    return ' ' + std::to_string(key);
  else
    return " like this";
}

template <class T>
inline constexpr bool is_storable = Shareable<T>;
template <>
inline constexpr bool is_storable<std::string> = true;

}  // namespace multiproc::detail
