// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/cereal_functions.hpp: which of cereal's functions a class has for our archives.
//
// Found with cereal::access, so private members of a class that befriends it count. Unlike cereal, a class with both
// serialize(Archive&) and Boost's serialize(Archive&, unsigned) is served: the version-less one is taken.
#pragma once

#include <cstdint>
#include <type_traits>

#include <multiproc/ipc/detail/decoder.hpp>
#include <multiproc/ipc/detail/encoder.hpp>

namespace multiproc::detail {

enum class CerealStyle {
  none,
  ambiguous,  // several, and no cereal::specialize that chooses
  member_serialize,
  member_load_save,
  member_minimal,
  free_serialize,
  free_load_save,
  free_minimal,
};

struct CerealFunctions {
  CerealStyle style = CerealStyle::none;
  bool versioned = false;
};

// `V...` is nothing, or the version.
template <class T, class... V>
concept MemberSerialize = requires(Encoder& to, Decoder& from, T& t, const V... v) {
  cereal::access::member_serialize(to, t, v...);
  cereal::access::member_serialize(from, t, v...);
};

template <class T, class... V>
concept MemberLoadSave = requires(Encoder& to, Decoder& from, T& t, const T& c, const V... v) {
  cereal::access::member_save(to, c, v...);
  cereal::access::member_load(from, t, v...);
};

template <class T, class... V>
concept MemberSaveMinimal =
    requires(const Encoder& to, const T& c, const V... v) { cereal::access::member_save_minimal(to, c, v...); };

template <class T, class... V>
concept MemberMinimal =
    MemberSaveMinimal<T, V...> && requires(const Encoder& to, const Decoder& from, T& t, const T& c, const V... v) {
      cereal::access::member_load_minimal(from, t, cereal::access::member_save_minimal(to, c, v...), v...);
    };

template <class T, class... V>
concept FreeSerialize = requires(Encoder& to, Decoder& from, T& t, const V... v) {
  CEREAL_SERIALIZE_FUNCTION_NAME(to, t, v...);
  CEREAL_SERIALIZE_FUNCTION_NAME(from, t, v...);
};

template <class T, class... V>
concept FreeLoadSave = requires(Encoder& to, Decoder& from, T& t, const T& c, const V... v) {
  CEREAL_SAVE_FUNCTION_NAME(to, c, v...);
  CEREAL_LOAD_FUNCTION_NAME(from, t, v...);
};

template <class T, class... V>
concept FreeMinimal = requires(const Encoder& to, const Decoder& from, T& t, const T& c, const V... v) {
  CEREAL_LOAD_MINIMAL_FUNCTION_NAME(from, t, CEREAL_SAVE_MINIMAL_FUNCTION_NAME(to, c, v...), v...);
};

template <class T, cereal::specialization S>
inline constexpr bool specialised = !std::is_base_of_v<std::false_type, cereal::specialize<Encoder, T, S>> &&
                                    !std::is_base_of_v<std::false_type, cereal::specialize<Decoder, T, S>>;

template <class T, class... V>
consteval CerealStyle member_style() {
  constexpr int found = int{MemberSerialize<T, V...>} + int{MemberLoadSave<T, V...>} + int{MemberMinimal<T, V...>};
  if constexpr (found > 1)
    return CerealStyle::ambiguous;
  else if constexpr (MemberSerialize<T, V...>)
    return CerealStyle::member_serialize;
  else if constexpr (MemberLoadSave<T, V...>)
    return CerealStyle::member_load_save;
  else if constexpr (MemberMinimal<T, V...>)
    return CerealStyle::member_minimal;
  else
    return CerealStyle::none;
}

template <class T, class... V>
consteval CerealStyle free_style() {
  constexpr int found = int{FreeSerialize<T, V...>} + int{FreeLoadSave<T, V...>} + int{FreeMinimal<T, V...>};
  if constexpr (found > 1)
    return CerealStyle::ambiguous;
  else if constexpr (FreeSerialize<T, V...>)
    return CerealStyle::free_serialize;
  else if constexpr (FreeLoadSave<T, V...>)
    return CerealStyle::free_load_save;
  else if constexpr (FreeMinimal<T, V...>)
    return CerealStyle::free_minimal;
  else
    return CerealStyle::none;
}

/// What cereal::specialize says about T.
template <class T>
consteval CerealStyle specialised_style() {
  using S = cereal::specialization;
  if constexpr (specialised<T, S::member_serialize>)
    return CerealStyle::member_serialize;
  else if constexpr (specialised<T, S::member_load_save>)
    return CerealStyle::member_load_save;
  else if constexpr (specialised<T, S::member_load_save_minimal>)
    return CerealStyle::member_minimal;
  else if constexpr (specialised<T, S::non_member_serialize>)
    return CerealStyle::free_serialize;
  else if constexpr (specialised<T, S::non_member_load_save>)
    return CerealStyle::free_load_save;
  else if constexpr (specialised<T, S::non_member_load_save_minimal>)
    return CerealStyle::free_minimal;
  else
    return CerealStyle::none;
}

/// Member functions of T, or what it was specialised for.
template <class T>
consteval CerealFunctions own_cereal_functions() {
  using V = std::uint32_t;
  constexpr CerealStyle said = specialised_style<T>();
  if constexpr (said != CerealStyle::none) {
    constexpr bool plain = (said == CerealStyle::member_serialize && MemberSerialize<T>) ||
                           (said == CerealStyle::member_load_save && MemberLoadSave<T>) ||
                           (said == CerealStyle::member_minimal && MemberMinimal<T>) ||
                           (said == CerealStyle::free_serialize && FreeSerialize<T>) ||
                           (said == CerealStyle::free_load_save && FreeLoadSave<T>) ||
                           (said == CerealStyle::free_minimal && FreeMinimal<T>);
    return {said, !plain};
  } else if constexpr (member_style<T>() != CerealStyle::none) {
    return {member_style<T>(), false};
  } else {
    return {member_style<T, V>(), true};
  }
}

/// Functions beside T, found by argument-dependent lookup; also the ones of <cereal/types/...>.
template <class T>
consteval CerealFunctions free_cereal_functions() {
  if constexpr (free_style<T>() != CerealStyle::none)
    return {free_style<T>(), false};
  else
    return {free_style<T, std::uint32_t>(), true};
}

}  // namespace multiproc::detail
