// SPDX-License-Identifier: MIT
//
// multiproc/shm/detail/shapes.hpp: tells the standard library's kinds of types apart, most of them without their
// headers.
//
// A container is known by its shape, so Boost's and other look-alikes count too. Because a class that merely derives
// from a container would lose its own members on the way, a container must declare clear() itself or be one of std or
// boost. Views own nothing and never pass: they have neither clear() nor an allocator.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <multiproc/shm/detail/type_name.hpp>

namespace multiproc::detail {

template <class T, template <class...> class Template>
inline constexpr bool is_a = false;
template <class... Args, template <class...> class Template>
inline constexpr bool is_a<Template<Args...>, Template> = true;

template <class T>
inline constexpr bool is_std_array = false;
template <class T, std::size_t N>
inline constexpr bool is_std_array<std::array<T, N>> = true;

template <class C, class R>
C declarer(R (C::*)());
template <class C, class R>
C declarer(R (C::*)() noexcept);

template <class T>
concept DeclaresClear = requires { requires std::same_as<decltype(detail::declarer(&T::clear)), T>; };

template <class T>
concept ContainerLike = std::default_initializable<T> && requires(T& t, const T& c) {
  typename T::value_type;
  typename T::allocator_type;
  typename T::const_iterator;
  c.begin();
  c.end();
  c.get_allocator();
  t.clear();
};

template <class T>
concept Container = ContainerLike<T> &&
                    (DeclaresClear<T> || type_name<T>().starts_with("std::") || type_name<T>().starts_with("boost::"));

template <class T>
concept MapLike = Container<T> && requires { typename T::mapped_type; } &&
                  requires(T& t, typename T::key_type k, typename T::mapped_type v) {
                    t.emplace_hint(t.end(), std::move(k), std::move(v));
                  };

template <class T>
concept SetLike = Container<T> && requires(T& t, typename T::key_type k) {
  requires std::same_as<typename T::key_type, typename T::value_type>;
  t.emplace_hint(t.end(), std::move(k));
};

template <class T>
concept BitSequence =
    Container<T> && std::same_as<typename T::value_type, bool> &&
    !std::same_as<decltype(std::declval<const T&>()[0]), const bool&> && requires(T& t) { t.push_back(true); };

template <class T>
concept BackGrowing = requires(T& t, typename T::value_type v) { t.push_back(std::move(v)); };
template <class T>
concept FrontLinked = requires(T& t, typename T::value_type v) { t.insert_after(t.before_begin(), std::move(v)); };

template <class T>
concept SequenceLike = Container<T> && !requires { typename T::key_type; } && (BackGrowing<T> || FrontLinked<T>);

/// Elements lie side by side, and a pair of pointers makes one: std::string, std::vector, ...
template <class T>
concept Contiguous = requires(const T& c, const typename T::value_type* element) {
  { c.data() } -> std::same_as<const typename T::value_type*>;
  c.size();
  T(element, element);
};

template <class T>
concept PathLike = requires(const T& c) {
  typename T::string_type;
  { c.native() } -> std::same_as<const typename T::string_type&>;
  c.has_root_directory();
  T(std::declval<typename T::string_type>());
};

template <class T>
concept BitsetLike = std::default_initializable<T> && requires(T& t, const T& c) {
  c.to_ullong();
  c.count();
  { c.test(0) } -> std::same_as<bool>;
  t.set(0, true);
  requires !requires { c.begin(); };
};

template <class T>
concept DurationLike = std::is_trivially_copyable_v<T> && requires(const T& c) {
  typename T::period;
  { c.count() } -> std::same_as<typename T::rep>;
  requires std::is_arithmetic_v<typename T::rep>;
  requires sizeof(T) == sizeof(typename T::rep);
};

template <class T>
concept TimePointLike = std::is_trivially_copyable_v<T> && requires(const T& c) {
  typename T::clock;
  { c.time_since_epoch() } -> std::same_as<typename T::duration>;
  requires DurationLike<typename T::duration>;
  requires sizeof(T) == sizeof(typename T::duration);
};

template <class T>
concept ComplexLike = std::is_trivially_copyable_v<T> && requires(const T& c) {
  requires std::is_floating_point_v<typename T::value_type>;
  { c.real() } -> std::same_as<typename T::value_type>;
  { c.imag() } -> std::same_as<typename T::value_type>;
  requires sizeof(T) == 2 * sizeof(typename T::value_type);
};

template <class T>
inline constexpr bool is_unique_ptr = false;
template <class T>
inline constexpr bool is_unique_ptr<std::unique_ptr<T>> = !std::is_array_v<T>;

/// string_view, span, ranges' views of memory: borrowed.
template <class T>
concept ViewLike = std::is_trivially_copyable_v<T> && !is_std_array<T> && requires(const T& c) {
  requires std::is_pointer_v<decltype(c.data())>;
  c.size();
  c.begin();
};

template <class T>
concept LockLike = !std::copy_constructible<T> && requires(T& t) {
  t.lock();
  t.unlock();
};

template <class T>
concept ThreadLike = requires(T& t) {
  typename T::native_handle_type;
  t.joinable();
  t.detach();
};

}  // namespace multiproc::detail
