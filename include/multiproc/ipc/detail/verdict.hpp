// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/verdict.hpp: may a type travel, and if not, which part of it is in the way, and why.
//
// judge<T>() looks through containers and aggregates and answers with the innermost offender: its reason and its type.
// The texts stand here twice, for static_assert takes literals only: text_of() for run time, NotSendable for the
// compiler.
#pragma once

#include <type_traits>

#include <multiproc/ipc/detail/kind.hpp>
#include <multiproc/shm/detail/reasons.hpp>
#include <multiproc/shm/layout.hpp>

namespace multiproc::detail {

/// What judge() answers with: a reason, and the type that has it.
template <Reason R, class Offender>
struct Verdict {
  static constexpr Reason reason = R;
  using offender = Offender;
};
using Acquitted = Verdict<Reason::none, void>;

/// The first that is no Acquitted, else Acquitted.
consteval auto first_refusal(Types<>) {
  return Acquitted{};
}

template <class First, class... Rest>
consteval auto first_refusal(Types<First, Rest...>) {
  if constexpr (First::reason != Reason::none)
    return First{};
  else
    return detail::first_refusal(Types<Rest...>{});
}

/// Why a class of unknown kind is refused.
template <class T>
consteval Reason nature() {
  if constexpr (std::is_union_v<T>)
    return Reason::not_seen_through;
  else if constexpr (is_a<T, std::unique_ptr>)
    return Reason::pointer;
  else if constexpr (ViewLike<T>)
    return Reason::view;
  else if constexpr (LockLike<T>)
    return Reason::lock;
  else if constexpr (ThreadLike<T>)
    return Reason::thread;
  else if constexpr (std::is_class_v<T> && std::is_trivially_copyable_v<T>)
    return Reason::bytes_not_said;
  else
    return Reason::unknown;
}

template <class T, class... Seen>
consteval auto judge();

template <class... Seen, class... Parts>
consteval auto judge_all(Types<Parts...>) {
  return detail::first_refusal(Types<decltype(detail::judge<std::remove_cv_t<Parts>, Seen...>())...>{});
}

template <class... Members>
consteval bool any_array(Types<Members...>) {
  return (std::is_array_v<Members> || ...);
}
template <class... Members>
consteval bool any_const(Types<Members...>) {
  return (std::is_const_v<std::remove_all_extents_t<Members>> || ...);
}

template <class T, class... Seen>
consteval auto judge_aggregate() {
  if constexpr (!layout<T>.seen_through) {
    return Verdict<Reason::not_seen_through, T>{};
  } else {
    using Members = MemberTypes<T>;
    using Found = decltype(detail::judge_all<T, Seen...>(Members{}));
    if constexpr (Found::reason != Reason::none)
      return Found{};
    else if constexpr (!flat<T> && any_array(Members{}) &&
                       (any_const(Members{}) || !std::is_default_constructible_v<T>))
      return Verdict<Reason::const_with_array, T>{};
    else
      return Acquitted{};
  }
}

/// T without const and volatile. `Seen`: the aggregates that we are inside of, so that a recursive type ends.
template <class T, class... Seen>
consteval auto judge() {
  if constexpr (refusal<T>() != Reason::none)
    return Verdict<refusal<T>(), T>{};
  else {
    constexpr Kind k = kind<T>;
    if constexpr (k == Kind::unknown)
      return Verdict<nature<T>(), T>{};
    else if constexpr (k == Kind::cereal && cereal_functions<T>.style == CerealStyle::ambiguous)
      return Verdict<Reason::ambiguous_cereal, T>{};
    else if constexpr (k == Kind::array && std::is_array_v<T>)
      return detail::judge<std::remove_cv_t<std::remove_extent_t<T>>, Seen...>();
    else if constexpr (k == Kind::array || k == Kind::sequence || k == Kind::set || k == Kind::optional)
      return detail::judge<std::remove_cv_t<typename T::value_type>, Seen...>();
    else if constexpr (k == Kind::map)
      return detail::judge_all<Seen...>(Types<typename T::key_type, typename T::mapped_type>{});
    else if constexpr (k == Kind::pointee)
      return detail::judge<std::remove_cv_t<typename T::element_type>, Seen...>();
    else if constexpr (k == Kind::tuple || k == Kind::variant)
      return detail::judge_all<Seen...>(typename ElementsOf<T>::type{});
    else if constexpr (k == Kind::aggregate) {
      if constexpr ((std::is_same_v<T, Seen> || ...))
        return Acquitted{};
      else
        return detail::judge_aggregate<T, Seen...>();
    } else
      return Acquitted{};
  }
}

/// The answer for a whole value, which a receiver must be able to return.
template <class T>
consteval auto judge_value() {
  if constexpr (std::is_array_v<T>)
    return Verdict<Reason::array, T>{};
  else
    return detail::judge<std::remove_cv_t<T>>();
}

template <class T>
using VerdictOf = decltype(detail::judge_value<T>());

}  // namespace multiproc::detail
