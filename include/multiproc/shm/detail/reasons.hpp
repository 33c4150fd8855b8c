// SPDX-License-Identifier: MIT
//
// multiproc/shm/detail/reasons.hpp: why a type may not travel, in words that name the remedy.
//
// static_assert takes literals only, so the texts are macros, gone at the end of this file: text_of() has them for run
// time, NotSendable for the compiler.
#pragma once

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
#define MULTIPROC_SHARED_POINTER "a shared_ptr or weak_ptr shares within this process; send the value that it points to"
#define MULTIPROC_POLYMORPHIC \
  "a pointer to a class with virtual functions may hold a derived class; send the values, e.g. in a std::variant"
#define MULTIPROC_REFERENCE_WRAPPER "a std::reference_wrapper refers into this process's memory; send the value"
#define MULTIPROC_FUNCTION \
  "a std::function hides what it captured; send a function pointer, a captureless lambda, or a functor with serialize"
#define MULTIPROC_LOCK "a mutex of this process does not work in another; send what it guards, without it"
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

/// Why a type may not lie in shared memory.
enum class Unshareable {
  none,
  pointer,
  reference,
  pair_or_tuple,
  atomic,
  not_trivial,
  private_members,
  not_seen_through,
  handle,
  unknown,
};

/// Instantiated for a T that is refused, so that the compiler prints one of these lines, with T and the offender's
/// type.
template <class T, class Offender, Unshareable R>
struct NotShareable {
  static_assert(R != Unshareable::pointer,
                "multiproc: not Shareable: a pointer is an address of this process, and its memory lies elsewhere in "
                "others; share the value itself, or an index");
  static_assert(R != Unshareable::reference,
                "multiproc: not Shareable: a reference or view refers into this process's memory; share the value");
  static_assert(R != Unshareable::pair_or_tuple,
                "multiproc: not Shareable: std::pair and std::tuple are not trivially copyable in this standard "
                "library; use a struct with named members");
  static_assert(
      R != Unshareable::atomic,
      "multiproc: not Shareable: an atomic can't be copied; share the plain value, and use std::atomic_ref on "
      "it");
  static_assert(R != Unshareable::not_trivial,
                "multiproc: not Shareable: this type is not trivially copyable (it has a copy constructor, destructor "
                "or virtual function, or owns memory); use a struct of plain values, or a shared container");
  static_assert(
      R != Unshareable::private_members,
      "multiproc: not Shareable: this class is trivially copyable, but has private members or constructors and "
      "may hide a pointer; if it holds none, specialise multiproc::sendable_as_bytes as true");
  static_assert(R != Unshareable::not_seen_through,
                "multiproc: not Shareable: this aggregate can't be looked into (a base class, a union, more than 32 "
                "members); if it holds no pointer, specialise multiproc::sendable_as_bytes as true");
  static_assert(R != Unshareable::handle,
                "multiproc: not Shareable: a handle belongs to its process; send it as an argument instead");
  static_assert(R != Unshareable::unknown,
                "multiproc: not Shareable: a type of this kind can't lie in shared memory; use plain values");
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
