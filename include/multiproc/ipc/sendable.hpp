// SPDX-License-Identifier: MIT
//
// multiproc/ipc/sendable.hpp: which types may travel to a process that shares no memory image with this one.
//
// Sendable are
//   - arithmetic types, enums, std::byte;
//   - containers of Sendables that own their elements (std's, Boost's, look-alikes; vector<bool>, strings of any
//   character),
//     array, pair, tuple, optional, variant, monostate, unique_ptr of a value, complex, bitset, filesystem::path,
//     chrono's durations and time points;
//   - aggregates whose members are: they are looked into at compile time, C arrays and up to 32 members, and a pointer
//     inside is found;
//   - classes with cereal functions: serialize, save and load, save_minimal and load_minimal; members (private ones of
//     a class that befriends cereal::access) or beside the class; with or without a version. They need a default
//     constructor;
//   - trivially copyable classes for which sendable_as_bytes is true;
//   - types that specialise Travel, such as this library's handles.
// What is refused is refused while compiling, with one line that names the offender and the remedy: functions that take
// a Sendable call detail::require_sendable<T>() first, since a concept alone can't carry a message.
//
// Enums: any value of the underlying type may arrive. A bool is always false or true, whatever the bytes.
#pragma once

#include <concepts>
#include <string>
#include <type_traits>

#include <multiproc/ipc/detail/verdict.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/layout.hpp>  // Shareable

namespace multiproc {

/// May travel to another process. False for references, and for C arrays, which no function can return.
template <class T>
concept Sendable = detail::VerdictOf<T>::reason == detail::Reason::none;

namespace detail {

/// Why T is not Sendable: a sentence with the remedy about its innermost part that is in the way. nullptr: it is.
template <class T>
constexpr const char* why_not_sendable() noexcept {
  return text_of(VerdictOf<T>::reason);
}

/// Compiles when T is Sendable; else the compiler prints that sentence.
template <class T>
constexpr void require_sendable() noexcept {
  using Found = VerdictOf<T>;
  static_assert(NotSendable<T, typename Found::offender, Found::reason>::value || Found::reason != Reason::none);
}

}  // namespace detail

/// For those who learn only at run time that a T would have to travel: "T: offender: sentence", or nullptr when it may.
template <class T>
const char* why_not_sendable_text() {
  using Found = detail::VerdictOf<T>;
  if constexpr (Found::reason == detail::Reason::none) {
    return nullptr;
  } else {
    static const std::string text = [] {
      std::string whole(detail::type_name<T>());
      if constexpr (!std::is_same_v<std::remove_cv_t<T>, typename Found::offender>)
        whole.append(": ").append(detail::type_name<typename Found::offender>());
      return whole.append(": ").append(detail::text_of(Found::reason));
    }();
    return text.c_str();
  }
}

}  // namespace multiproc
