// SPDX-License-Identifier: MIT
//
// multiproc/shm/layout.hpp: what may lie in memory that several processes see, and how it is stamped there.
//
// A mapping lies at another address in each process, so nothing in it may hold an address: no pointer, reference,
// virtual function, and nothing that owns anything of its process. Shareable says so while compiling. An aggregate with
// an anonymous union can't be looked into: name the union and specialise sendable_as_bytes for the aggregate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/detail/members.hpp>
#include <multiproc/shm/detail/reasons.hpp>
#include <multiproc/shm/detail/shapes.hpp>

namespace multiproc {

namespace detail {

/// Types that are refused by name or nature, before anybody looks into them.
template <class T>
consteval Reason refusal() {
  if constexpr (std::is_reference_v<T>)
    return Reason::reference;
  else if constexpr (std::is_function_v<T> || std::is_member_pointer_v<T>)
    return Reason::function_pointer;
  else if constexpr (std::is_pointer_v<T>)
    return std::is_function_v<std::remove_pointer_t<T>> ? Reason::function_pointer : Reason::pointer;
  else if constexpr (std::is_null_pointer_v<T>)
    return Reason::pointer;
  else if constexpr (std::is_void_v<T> || std::is_unbounded_array_v<T>)
    return Reason::unknown;
  else if constexpr (!std::is_class_v<T> || Travels<T> || sendable_as_bytes<T>)
    return Reason::none;
  else if constexpr (is_a<T, std::reference_wrapper>)
    return Reason::reference_wrapper;
  else if constexpr (is_a<T, std::function>)
    return Reason::function;
  else if constexpr (is_a<T, std::shared_ptr> || is_a<T, std::weak_ptr>)
    return Reason::shared_pointer;
  else if constexpr (is_unique_ptr<T>) {
    return std::is_polymorphic_v<typename T::element_type> ? Reason::polymorphic : Reason::none;
  } else
    return Reason::none;
}

template <class T>
consteval bool is_shareable();

template <class... Parts>
consteval bool all_shareable(Types<Parts...>) {
  return (detail::is_shareable<std::remove_cv_t<Parts>>() && ...);
}

/// Trivially copyable and without pointers, whatever cereal functions it may have besides.
template <class T>
consteval bool is_shareable() {
  if constexpr (refusal<T>() != Reason::none || !std::is_trivially_copyable_v<T> || Travels<T>)
    return false;
  else if constexpr (sendable_as_bytes<T> || std::is_arithmetic_v<T> || std::is_enum_v<T>)
    return true;
  else if constexpr (std::is_bounded_array_v<T>)
    return is_shareable<std::remove_cv_t<std::remove_extent_t<T>>>();
  else if constexpr (!std::is_class_v<T>)
    return false;
  else if constexpr (std::is_empty_v<T>)
    return true;
  else if constexpr (is_std_array<T> || is_a<T, std::optional>)
    return is_shareable<std::remove_cv_t<typename T::value_type>>();
  else if constexpr (is_a<T, std::pair> || is_a<T, std::tuple> || is_a<T, std::variant>)
    return all_shareable(typename ElementsOf<T>::type{});
  else if constexpr (DurationLike<T> || TimePointLike<T> || ComplexLike<T> || BitsetLike<T>)
    return true;
  else if constexpr (std::is_aggregate_v<T>) {
    if constexpr (layout<T>.seen_through)
      return all_shareable(MemberTypes<T>{});
    else
      return false;
  } else
    return false;
}

template <class T, Unshareable R>
struct Refused {
  using offender = T;
  static constexpr Unshareable reason = R;
};

template <class T>
consteval auto why_unshareable();

template <class Whole>
consteval auto first_unshareable_or(Types<>) {
  return Refused<Whole, Unshareable::not_trivial>{};
}
template <class Whole, class First, class... Rest>
consteval auto first_unshareable_or(Types<First, Rest...>) {
  if constexpr (!is_shareable<std::remove_cv_t<First>>())
    return why_unshareable<std::remove_cv_t<First>>();
  else
    return first_unshareable_or<Whole>(Types<Rest...>{});
}

/// The innermost part of a T that is not Shareable, and what is the matter with it.
template <class T>
consteval auto why_unshareable() {
  constexpr Reason reason = refusal<T>();
  if constexpr (reason == Reason::pointer || reason == Reason::function_pointer || reason == Reason::shared_pointer)
    return Refused<T, Unshareable::pointer>{};
  else if constexpr (reason == Reason::reference || reason == Reason::reference_wrapper)
    return Refused<T, Unshareable::reference>{};
  else if constexpr (Travels<T>)
    return Refused<T, Unshareable::handle>{};
  else if constexpr (std::is_bounded_array_v<T>)
    return why_unshareable<std::remove_cv_t<std::remove_extent_t<T>>>();
  else if constexpr (!std::is_class_v<T>)
    return Refused < T, std::is_union_v<T> ? Unshareable::not_seen_through : Unshareable::unknown > {};
  else if constexpr (is_std_array<T>)
    return why_unshareable<std::remove_cv_t<typename T::value_type>>();
  else if constexpr (is_a<T, std::pair> || is_a<T, std::tuple>)
    return Refused<T, Unshareable::pair_or_tuple>{};
  else if constexpr (requires { T::is_always_lock_free; })
    return Refused<T, Unshareable::atomic>{};
  else if constexpr (ViewLike<T>)
    return Refused<T, Unshareable::reference>{};
  else if constexpr (is_a<T, std::optional>)
    return first_unshareable_or<T>(Types<typename T::value_type>{});
  else if constexpr (is_a<T, std::variant>)
    return first_unshareable_or<T>(typename ElementsOf<T>::type{});
  else if constexpr (!std::is_aggregate_v<T>)
    return Refused < T, std::is_trivially_copyable_v<T> ? Unshareable::private_members : Unshareable::not_trivial > {};
  else if constexpr (!layout<T>.seen_through)
    return Refused < T, std::is_trivially_copyable_v<T> ? Unshareable::not_seen_through : Unshareable::not_trivial > {};
  else
    return first_unshareable_or<T>(MemberTypes<T>{});
}

/// Compiles; for a T that is not Shareable the compiler prints what is the matter, before it comes to a static_assert
/// of the caller's.
template <class T>
constexpr auto explain_shareable() {
  if constexpr (!is_shareable<std::remove_cv_t<T>>()) {
    using Found = decltype(why_unshareable<std::remove_cv_t<T>>());
    return NotShareable<std::remove_cv_t<T>, typename Found::offender, Found::reason>();
  }
}

}  // namespace detail

/// May lie in shared memory as it is: trivially copyable, no pointer anywhere inside. Standard types that are (array,
/// optional, variant, chrono's, complex, bitset), aggregates of Shareables, and trivially copyable classes for which
/// sendable_as_bytes is true. A pair or tuple is where the standard library has it trivially copyable; libstdc++ has
/// not: use a struct.
template <class T>
concept Shareable = detail::is_shareable<std::remove_cv_t<T>>();

/// What stands apart by so much is never written by two cores at once without their wanting it.
inline constexpr std::size_t kCacheLine = 64;

/// The first bytes of whatever this library lays out in shared memory. Both sides must be built from the same layout.
struct LayoutStamp {
  std::uint64_t magic = 0;
  std::uint32_t version = 0;
  std::uint32_t reserved = 0;
  std::uint64_t size = 0;  // of the whole, in bytes

  bool operator==(const LayoutStamp&) const = default;
};

}  // namespace multiproc
