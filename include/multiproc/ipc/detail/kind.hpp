// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/kind.hpp: how a type goes over the wire; one answer for each, asked by all who encode.
//
// The order of the questions is the order of precedence: what the user said (Travel, sendable_as_bytes, cereal
// members), then what the standard library's types are known to be, then cereal functions beside the type, then what
// can be seen in an aggregate. So our way with std types wins over <cereal/types/...>, whether those are included or
// not.
#pragma once

#include <cstddef>
#include <type_traits>

#include <multiproc/ipc/detail/cereal_functions.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/detail/members.hpp>
#include <multiproc/shm/detail/shapes.hpp>

namespace multiproc::detail {

enum class Kind {
  unknown,
  travel,     // Travel<T>
  bytes,      // copied as it lies in memory
  boolean,    // one byte, 0 or 1; enums over bool too
  empty,      // one zero byte, so that a million of them can't be claimed by nothing
  bits,       // vector<bool>: length, then eight to a byte
  sequence,   // length, elements
  set,        // length, keys
  map,        // length, key and value in turn
  array,      // std::array and C arrays: elements
  tuple,      // pair and tuple: elements
  optional,   // 0, or 1 and the value; unique_ptr too
  pointee,    //
  variant,    // index, value
  bitset,     // eight to a byte
  path,       // as its native string
  cereal,     // the class's own functions
  aggregate,  // members in order
};

template <class T>
consteval bool is_boolean() {
  if constexpr (std::is_enum_v<T>)
    return std::is_same_v<std::underlying_type_t<T>, bool>;
  else
    return std::is_same_v<T, bool>;
}

/// T without const and volatile.
template <class T>
consteval Kind kind_of() {
  if constexpr (Travels<T>)
    return Kind::travel;
  else if constexpr (sendable_as_bytes<T>)
    return Kind::bytes;
  else if constexpr (is_boolean<T>())
    return Kind::boolean;
  else if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T>)
    return Kind::bytes;
  else if constexpr (std::is_bounded_array_v<T>)
    return Kind::array;
  else if constexpr (!std::is_class_v<T>)
    return Kind::unknown;
  else if constexpr (own_cereal_functions<T>().style != CerealStyle::none)
    return Kind::cereal;
  else if constexpr (std::is_empty_v<T> && std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T>)
    return Kind::empty;
  else if constexpr (is_std_array<T>)
    return Kind::array;
  else if constexpr (is_a<T, std::pair> || is_a<T, std::tuple>)
    return Kind::tuple;
  else if constexpr (is_a<T, std::optional>)
    return Kind::optional;
  else if constexpr (is_unique_ptr<T>)
    return Kind::pointee;
  else if constexpr (is_a<T, std::variant>)
    return Kind::variant;
  else if constexpr (BitSequence<T>)
    return Kind::bits;
  else if constexpr (MapLike<T>)
    return Kind::map;
  else if constexpr (SetLike<T>)
    return Kind::set;
  else if constexpr (SequenceLike<T>)
    return Kind::sequence;
  else if constexpr (DurationLike<T> || TimePointLike<T> || ComplexLike<T>)
    return Kind::bytes;
  else if constexpr (PathLike<T>)
    return Kind::path;
  else if constexpr (BitsetLike<T>)
    return Kind::bitset;
  else if constexpr (free_cereal_functions<T>().style != CerealStyle::none)
    return Kind::cereal;
  else if constexpr (std::is_aggregate_v<T>)
    return Kind::aggregate;
  else
    return Kind::unknown;
}

template <class T>
inline constexpr Kind kind = kind_of<std::remove_cv_t<T>>();

template <class T>
inline constexpr CerealFunctions cereal_functions =
    own_cereal_functions<T>().style != CerealStyle::none ? own_cereal_functions<T>() : free_cereal_functions<T>();

template <class T>
consteval bool is_flat();

template <class... Members>
consteval bool all_flat(Types<Members...>) {
  return (is_flat<std::remove_cv_t<Members>>() && ...);
}

/// May a T be copied as the bytes it lies in memory? Not where some bytes are no value: nothing that holds a bool
/// passes. Padding between members goes along.
template <class T>
consteval bool is_flat() {
  if constexpr (kind<T> == Kind::bytes)
    return true;
  else if constexpr (kind<T> == Kind::array && std::is_array_v<T>)
    return is_flat<std::remove_cv_t<std::remove_extent_t<T>>>();
  else if constexpr (kind<T> == Kind::array)
    return is_flat<typename T::value_type>();
  else if constexpr (kind<T> == Kind::empty)
    return true;
  else if constexpr (kind<T> == Kind::aggregate && std::is_trivially_copyable_v<T>) {
    if constexpr (layout<T>.seen_through)
      return all_flat(MemberTypes<T>{});
    else
      return false;
  } else
    return false;
}

template <class T>
inline constexpr bool flat = is_flat<std::remove_cv_t<T>>();

template <class T>
consteval bool is_flat_run() {
  if constexpr (kind<T> == Kind::sequence && Contiguous<T>)
    return is_flat<typename T::value_type>();
  else
    return false;
}

/// A sequence whose elements are copied as one block: std::string, std::vector<int>, ...
template <class T>
inline constexpr bool flat_run = is_flat_run<std::remove_cv_t<T>>();

template <class T>
consteval std::size_t least_size();

template <class... Members>
consteval std::size_t sum_least(Types<Members...>) {
  return (std::size_t{0} + ... + least_size<std::remove_cv_t<Members>>());
}

/// The fewest bytes that a T takes on the wire; 0: nobody knows, its author writes it.
template <class T>
consteval std::size_t least_size() {
  if constexpr (flat<T>)
    return sizeof(T);
  else {
    switch (kind<T>) {
      case Kind::boolean:
      case Kind::optional:
      case Kind::pointee:
      case Kind::variant: return 1;
      case Kind::bits:
      case Kind::sequence:
      case Kind::set:
      case Kind::map:
      case Kind::path: return 8;
      case Kind::bitset:
        if constexpr (kind<T> == Kind::bitset) return (T{}.size() + 7) / 8;
        break;
      case Kind::array:
        if constexpr (kind<T> == Kind::array && std::is_array_v<T>)
          return std::extent_v<T> * least_size<std::remove_cv_t<std::remove_extent_t<T>>>();
        else if constexpr (kind<T> == Kind::array)
          return std::tuple_size_v<T> * least_size<typename T::value_type>();
        break;
      case Kind::tuple:
        if constexpr (kind<T> == Kind::tuple) return sum_least(typename ElementsOf<T>::type{});
        break;
      case Kind::aggregate:
        if constexpr (kind<T> == Kind::aggregate) {
          if constexpr (layout<T>.seen_through) return sum_least(MemberTypes<T>{});
        }
        break;
      default: break;
    }
    return 0;
  }
}

/// Elements of a container whose size on the wire may be 0 are preceded by a zero byte each: a length stays provable.
template <class T>
inline constexpr bool needs_guard = least_size<std::remove_cv_t<T>>() == 0;

template <class T>
inline constexpr std::size_t least_element = needs_guard<T> ? 1 : least_size<std::remove_cv_t<T>>();

}  // namespace multiproc::detail
