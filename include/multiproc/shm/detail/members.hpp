// SPDX-License-Identifier: MIT
//
// multiproc/shm/detail/members.hpp: looks into an aggregate: how many members, of which types, and each of them.
//
// The number is found by asking how many initialisers fit. Empty braces stand for exactly one member, a C array
// included, so they are tried first; a member that braces can't make (no default constructor) is tried with something
// that converts to anything. Members are then reached through a structured binding.
//
// Not seen through: more than 32 members, unions, a base class with members of its own (a structured binding reaches
// one class only), a reference member.
#pragma once

#include <concepts>
#include <cstddef>
#include <type_traits>
#include <utility>

#include <boost/preprocessor/repetition/enum.hpp>
#include <boost/preprocessor/repetition/enum_params.hpp>
#include <boost/preprocessor/repetition/repeat_from_to.hpp>

namespace multiproc::detail {

template <class... Ts>
struct Types {
  static constexpr std::size_t size = sizeof...(Ts);
};

/// The arguments of a template: of a pair, tuple or variant its elements.
template <class T>
struct ElementsOf;
template <class... Ts, template <class...> class Template>
struct ElementsOf<Template<Ts...>> {
  using type = Types<Ts...>;
};

inline constexpr std::size_t max_members = 32;

/// Converts to anything that is neither Whole nor a base of it.
template <class Whole, std::size_t = 0>
struct Anything {
  template <class T>
    requires(!std::same_as<T, Whole> && !std::is_base_of_v<T, Whole>)
  operator T() const;
};

/// Converts to the bases of Whole.
template <class Whole>
struct AnyBase {
  template <class T>
    requires(!std::same_as<T, Whole> && std::is_base_of_v<T, Whole>)
  operator T() const;
};

template <class Whole>
struct AnyEmptyBase {
  template <class T>
    requires(!std::same_as<T, Whole> && std::is_base_of_v<T, Whole> && std::is_empty_v<T>)
  operator T() const;
};

#define MULTIPROC_BRACES(z, i, _) \
  {}
#define MULTIPROC_FITS(z, n, _) \
  if constexpr (N == n) return requires { T{BOOST_PP_ENUM(n, MULTIPROC_BRACES, _), Last{}...}; };

/// Can T be made from N pairs of empty braces, and a Last{} or nothing after them?
template <class T, std::size_t N, class... Last>
consteval bool braces_fit() {
  if constexpr (N == 0) return requires { T{Last{}...}; };
  BOOST_PP_REPEAT_FROM_TO(1, 35, MULTIPROC_FITS, _)
  return false;
}

#undef MULTIPROC_FITS
#undef MULTIPROC_BRACES

template <class T, std::size_t N = 0>
consteval std::size_t count_braces() {
  if constexpr (N <= max_members + 1 && braces_fit<T, N + 1>())
    return count_braces<T, N + 1>();
  else
    return N;
}

/// Can T be made from `before` things, one braced list of `inside` things, and `after` things?
template <class T, std::size_t Before, std::size_t Inside, std::size_t After>
consteval bool list_fits() {
  return []<std::size_t... B, std::size_t... I, std::size_t... A>(std::index_sequence<B...>, std::index_sequence<I...>,
                                                                  std::index_sequence<A...>) {
    return requires { T{Anything<T, B>{}..., {Anything<T, I>{}...}, Anything<T, A>{}...}; };
  }(std::make_index_sequence<Before>{}, std::make_index_sequence<Inside>{}, std::make_index_sequence<After>{});
}

template <class T, std::size_t N>
consteval bool things_fit() {
  return []<std::size_t... I>(std::index_sequence<I...>) {
    return requires { T{Anything<T, I>{}...}; };
  }(std::make_index_sequence<N>{});
}

// More initialisers than members, because the elements of C arrays count one by one.
inline constexpr std::size_t max_initialisers = 64;

template <class T, std::size_t N = max_initialisers + 1>
consteval std::size_t count_things() {
  if constexpr (N == 0 || things_fit<T, N>())
    return N;
  else
    return count_things<T, N - 1>();
}

/// How many of the initialisers from `At` on belong to one member: the most that may stand in its braces so that
/// exactly the others still fit behind.
template <class T, std::size_t All, std::size_t At, std::size_t Width = All - At>
consteval std::size_t width_at() {
  if constexpr (Width <= 1)
    return 1;
  else if constexpr (list_fits<T, At, Width, All - At - Width>() && !list_fits<T, At, Width, All - At - Width + 1>())
    return Width;
  else
    return width_at<T, All, At, Width - 1>();
}

template <class T, std::size_t All, std::size_t At = 0>
consteval std::size_t count_widths() {
  if constexpr (At >= All)
    return 0;
  else
    return 1 + count_widths<T, All, At + width_at<T, All, At>()>();
}

struct Layout {
  std::size_t members = 0;
  bool empty_base = false;  // one base without members stands before them
  bool seen_through = true;
};

/// T must be an aggregate class, and no empty one.
template <class T>
consteval Layout layout_of() {
  if constexpr (std::is_union_v<T>) return {.seen_through = false};
  constexpr std::size_t braces = count_braces<T>();
  if constexpr (braces > max_members + 1) {
    return {.members = braces, .seen_through = false};
  } else if constexpr (braces > 0 && !braces_fit<T, braces, Anything<T>>()) {
    if constexpr (braces_fit<T, 0, AnyBase<T>>()) {
      constexpr bool one_empty = braces_fit<T, 0, AnyEmptyBase<T>>() && !braces_fit<T, 1, AnyBase<T>>();
      return {.members = braces - 1, .empty_base = one_empty, .seen_through = one_empty && braces - 1 <= max_members};
    } else {
      return {.members = braces, .seen_through = braces <= max_members};
    }
  } else {
    constexpr std::size_t things = count_things<T>();
    constexpr bool based = []<std::size_t... I>(std::index_sequence<I...>) {
      return requires { T{AnyBase<T>{}, Anything<T, I>{}...}; };
    }(std::make_index_sequence < things == 0 ? 0 : things - 1 > {});
    if constexpr (things == 0 || things > max_initialisers || based) {
      return {.seen_through = false};
    } else {
      constexpr std::size_t members = count_widths<T, things>();
      return {.members = members, .seen_through = members <= max_members};
    }
  }
}

template <class T>
inline constexpr Layout layout = layout_of<T>();

#define MULTIPROC_TYPE(z, i, _) decltype(m##i)
#define MULTIPROC_TYPES(z, n, _)                         \
  if constexpr (layout<T>.members == n) {                \
    auto& [BOOST_PP_ENUM_PARAMS(n, m)] = object;         \
    return Types<BOOST_PP_ENUM(n, MULTIPROC_TYPE, _)>{}; \
  }
#define MULTIPROC_USE(z, n, _)                                 \
  if constexpr (layout<std::remove_const_t<T>>.members == n) { \
    auto& [BOOST_PP_ENUM_PARAMS(n, m)] = object;               \
    return use(BOOST_PP_ENUM_PARAMS(n, m));                    \
  }

/// The members' types as they were declared, const and references included.
template <class T>
constexpr auto list_members([[maybe_unused]] T& object) {
  if constexpr (layout<T>.members == 0) return Types<>{};
  BOOST_PP_REPEAT_FROM_TO(1, 33, MULTIPROC_TYPES, _)
}

/// use(member, ...) with all members of `object`.
template <class T, class Use>
constexpr decltype(auto) with_members([[maybe_unused]] T& object, Use&& use) {
  if constexpr (layout<std::remove_const_t<T>>.members == 0) return use();
  BOOST_PP_REPEAT_FROM_TO(1, 33, MULTIPROC_USE, _)
}

#undef MULTIPROC_USE
#undef MULTIPROC_TYPES
#undef MULTIPROC_TYPE

template <class T>
using MemberTypes = decltype(list_members(std::declval<T&>()));

}  // namespace multiproc::detail
