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

namespace multiproc::detail {

enum class Reason {
  none,
  pointer,
  function_pointer,
  reference,
  view,
  shared_pointer,
  polymorphic,
  reference_wrapper,
  function,
  lock,
  thread,
  array,
  const_with_array,
  not_seen_through,
  ambiguous_cereal,
  bytes_not_said,
  unknown,
};

#define MULTIPROC_POINTER \
  "a raw pointer points into this process's memory; send the value, a std::string, or a SharedMemory"
#define MULTIPROC_FUNCTION_POINTER \
  "a pointer to a function or member is an address of this process; send a value that says which one"
#define MULTIPROC_REFERENCE "a reference refers into this process's memory; send the value"
#define MULTIPROC_VIEW \
  "a view (string_view, span) borrows memory of this process; send a std::string or a std::vector, which own it"
#define MULTIPROC_SHARED_POINTER \
  "a shared_ptr or weak_ptr shares within this process; send the value, or share it in a SharedMemory"
#define MULTIPROC_POLYMORPHIC \
  "a pointer to a class with virtual functions may hold a derived class; send the values, e.g. in a std::variant"
#define MULTIPROC_REFERENCE_WRAPPER "a std::reference_wrapper refers into this process's memory; send the value"
#define MULTIPROC_FUNCTION \
  "a std::function hides what it captured; send a function pointer, a captureless lambda, or a functor with serialize"
#define MULTIPROC_LOCK "a mutex of this process does not work in another; share a multiproc::Lock"
#define MULTIPROC_THREAD "a thread belongs to its process; send what it shall work on, and start it there"
#define MULTIPROC_ARRAY "a C array can't be returned by a receiver; send a std::string, a std::array or a std::vector"
#define MULTIPROC_CONST_WITH_ARRAY \
  "an aggregate with a C array that has const members or no default constructor can't be rebuilt; use a std::array"
#define MULTIPROC_NOT_SEEN_THROUGH                                                                                    \
  "this aggregate can't be looked into (a base class, a union, a reference member, more than 32 members); give it a " \
  "cereal serialize function, or sendable_as_bytes"
#define MULTIPROC_AMBIGUOUS_CEREAL \
  "this class has several kinds of cereal functions; choose one with cereal::specialize"
#define MULTIPROC_BYTES_NOT_SAID                                                                                      \
  "this class is trivially copyable but may hide a pointer; if it holds none, specialise sendable_as_bytes as true, " \
  "or give it a cereal serialize function"
#define MULTIPROC_UNKNOWN "this type says nothing about how it travels; give it a cereal serialize function"

constexpr const char* text_of(Reason reason) noexcept {
  switch (reason) {
    case Reason::none: return nullptr;
    case Reason::pointer: return MULTIPROC_POINTER;
    case Reason::function_pointer: return MULTIPROC_FUNCTION_POINTER;
    case Reason::reference: return MULTIPROC_REFERENCE;
    case Reason::view: return MULTIPROC_VIEW;
    case Reason::shared_pointer: return MULTIPROC_SHARED_POINTER;
    case Reason::polymorphic: return MULTIPROC_POLYMORPHIC;
    case Reason::reference_wrapper: return MULTIPROC_REFERENCE_WRAPPER;
    case Reason::function: return MULTIPROC_FUNCTION;
    case Reason::lock: return MULTIPROC_LOCK;
    case Reason::thread: return MULTIPROC_THREAD;
    case Reason::array: return MULTIPROC_ARRAY;
    case Reason::const_with_array: return MULTIPROC_CONST_WITH_ARRAY;
    case Reason::not_seen_through: return MULTIPROC_NOT_SEEN_THROUGH;
    case Reason::ambiguous_cereal: return MULTIPROC_AMBIGUOUS_CEREAL;
    case Reason::bytes_not_said: return MULTIPROC_BYTES_NOT_SAID;
    case Reason::unknown: return MULTIPROC_UNKNOWN;
  }
  return MULTIPROC_UNKNOWN;
}

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

/// Instantiated for a T that is refused, so that the compiler prints one of these lines, with T and the offender's
/// type.
template <class T, class Offender, Reason R>
struct NotSendable {
  static_assert(R != Reason::pointer, "multiproc: not sendable: " MULTIPROC_POINTER);
  static_assert(R != Reason::function_pointer, "multiproc: not sendable: " MULTIPROC_FUNCTION_POINTER);
  static_assert(R != Reason::reference, "multiproc: not sendable: " MULTIPROC_REFERENCE);
  static_assert(R != Reason::view, "multiproc: not sendable: " MULTIPROC_VIEW);
  static_assert(R != Reason::shared_pointer, "multiproc: not sendable: " MULTIPROC_SHARED_POINTER);
  static_assert(R != Reason::polymorphic, "multiproc: not sendable: " MULTIPROC_POLYMORPHIC);
  static_assert(R != Reason::reference_wrapper, "multiproc: not sendable: " MULTIPROC_REFERENCE_WRAPPER);
  static_assert(R != Reason::function, "multiproc: not sendable: " MULTIPROC_FUNCTION);
  static_assert(R != Reason::lock, "multiproc: not sendable: " MULTIPROC_LOCK);
  static_assert(R != Reason::thread, "multiproc: not sendable: " MULTIPROC_THREAD);
  static_assert(R != Reason::array, "multiproc: not sendable: " MULTIPROC_ARRAY);
  static_assert(R != Reason::const_with_array, "multiproc: not sendable: " MULTIPROC_CONST_WITH_ARRAY);
  static_assert(R != Reason::not_seen_through, "multiproc: not sendable: " MULTIPROC_NOT_SEEN_THROUGH);
  static_assert(R != Reason::ambiguous_cereal, "multiproc: not sendable: " MULTIPROC_AMBIGUOUS_CEREAL);
  static_assert(R != Reason::bytes_not_said, "multiproc: not sendable: " MULTIPROC_BYTES_NOT_SAID);
  static_assert(R != Reason::unknown, "multiproc: not sendable: " MULTIPROC_UNKNOWN);
  static constexpr bool value = R == Reason::none;
};

#undef MULTIPROC_POINTER
#undef MULTIPROC_FUNCTION_POINTER
#undef MULTIPROC_REFERENCE
#undef MULTIPROC_VIEW
#undef MULTIPROC_SHARED_POINTER
#undef MULTIPROC_POLYMORPHIC
#undef MULTIPROC_REFERENCE_WRAPPER
#undef MULTIPROC_FUNCTION
#undef MULTIPROC_LOCK
#undef MULTIPROC_THREAD
#undef MULTIPROC_ARRAY
#undef MULTIPROC_CONST_WITH_ARRAY
#undef MULTIPROC_NOT_SEEN_THROUGH
#undef MULTIPROC_AMBIGUOUS_CEREAL
#undef MULTIPROC_BYTES_NOT_SAID
#undef MULTIPROC_UNKNOWN

}  // namespace multiproc::detail
