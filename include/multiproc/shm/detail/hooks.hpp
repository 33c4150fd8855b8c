// SPDX-License-Identifier: MIT
//
// multiproc/shm/detail/hooks.hpp: the two templates that make a type Sendable by saying so; sendable.hpp tells more.
#pragma once

namespace multiproc {

/// "The bytes of a T are all there is to it": specialise as true for a trivially copyable class that holds no pointer,
/// reference or descriptor and is no aggregate that could be looked into.
///
///     template <> inline constexpr bool multiproc::sendable_as_bytes<Vec3> = true;
template <class T>
inline constexpr bool sendable_as_bytes = false;

/// How a handle travels, descriptors included. Specialise with
///
///     static void encode(Encoder& to, const T& value);   // to(a, b) and to.attach(fd)
///     static T decode(Decoder& from);                    // from.read<A>() and from.take_fd(), in the same order
template <class T>
struct Travel;

namespace detail {

template <class T>
concept Travels = requires { sizeof(Travel<T>); };

}  // namespace detail
}  // namespace multiproc
