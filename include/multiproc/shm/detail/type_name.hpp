// SPDX-License-Identifier: MIT
//
// multiproc/shm/detail/type_name.hpp: the name of a type as the compiler writes it, known at compile time.
//
// For error texts and for fingerprints. The spelling differs between compilers and is the same within one binary.
#pragma once

#include <cstdint>
#include <string_view>

namespace multiproc::detail {

template <class T>
consteval std::string_view pretty_function() {
  return __PRETTY_FUNCTION__;
}

/// "std::vector<int>" in the compiler's own spelling.
template <class T>
consteval std::string_view type_name() {
  // What stands before and after the name is the same for every T; int's name shows where.
  constexpr std::string_view sample = pretty_function<int>();
  constexpr std::string_view::size_type before = sample.find("= int") + 2;
  constexpr std::string_view::size_type after = sample.size() - before - 3;
  std::string_view name = pretty_function<T>();
  name.remove_prefix(before);
  name.remove_suffix(after);
  if (const auto alias = name.find("; std::string_view ="); alias != name.npos) name = name.substr(0, alias);
  return name;
}

/// FNV-1a, gone on with from `hash`.
constexpr std::uint64_t hash_text(std::string_view text, std::uint64_t hash = 0xcbf29ce484222325U) {
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

constexpr std::uint64_t hash_number(std::uint64_t number, std::uint64_t hash) {
  for (int shift = 0; shift < 64; shift += 8) hash = (hash ^ ((number >> shift) & 0xffU)) * 0x100000001b3U;
  return hash;
}

}  // namespace multiproc::detail
