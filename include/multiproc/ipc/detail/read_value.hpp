// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/read_value.hpp: a value out of its bytes; the mirror of write_value.hpp.
//
// The bytes may be anybody's: each is looked at before it becomes a value that not every byte is.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include <multiproc/ipc/detail/decoder.hpp>
#include <multiproc/ipc/detail/kind.hpp>
#include <multiproc/ipc/detail/read_containers.hpp>
#include <multiproc/ipc/detail/write_value.hpp>

namespace multiproc::detail {

template <class T, std::size_t I>
T read_alternative(Decoder& from) {
  return T(std::in_place_index<I>, read_value<std::variant_alternative_t<I, T>>(from));
}

template <class T, std::size_t... I>
T read_variant(Decoder& from, std::index_sequence<I...>) {
  static constexpr T (*readers[])(Decoder&) = {&read_alternative<T, I>...};
  const auto index = std::to_integer<std::size_t>(*from.take(1, type_name<T>()));
  if (index >= sizeof...(I)) throw_bad_value(type_name<T>(), "no index of an alternative", index);
  return readers[index](from);
}

template <class... Ts>
std::tuple<Ts...> read_tuple(Decoder& from, std::type_identity<std::tuple<Ts...>>) {
  return std::tuple<Ts...>{read_value<std::remove_cv_t<Ts>>(from)...};
}
template <class A, class B>
std::pair<A, B> read_tuple(Decoder& from, std::type_identity<std::pair<A, B>>) {
  return std::pair<A, B>{read_value<std::remove_cv_t<A>>(from), read_value<std::remove_cv_t<B>>(from)};
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wconversion"  // a bit-field is given a value of its whole type
template <class T, class... Members>
T read_aggregate(Decoder& from, Types<Members...>) {
  if constexpr (any_array(Types<Members...>{})) {
    T value{};
    with_members(value, [&from](auto&... members) { (read_into(from, members), ...); });
    return value;
  } else if constexpr (layout<T>.empty_base) {
    return T{{}, read_value<std::remove_cv_t<Members>>(from)...};
  } else {
    return T{read_value<std::remove_cv_t<Members>>(from)...};
  }
}
#pragma GCC diagnostic pop

template <class T>
T read_std_array(Decoder& from) {
  using Element = typename T::value_type;
  if constexpr (std::default_initializable<Element> && std::is_move_assignable_v<Element>) {
    T value{};
    for (Element& element : value) read_into(from, element);
    return value;
  } else {
    return [&from]<std::size_t... I>(std::index_sequence<I...>) {
      return T{{(static_cast<void>(I), read_value<Element>(from))...}};
    }(std::make_index_sequence<std::tuple_size_v<T>>{});
  }
}

template <class T>
void read_with_cereal(Decoder& from, T& value) {
  constexpr CerealFunctions functions = cereal_functions<T>;
  const Nested<Decoder> level(from);
  const auto call = [&](auto... version) {
    if constexpr (functions.style == CerealStyle::member_serialize)
      cereal::access::member_serialize(from, value, version...);
    else if constexpr (functions.style == CerealStyle::free_serialize)
      CEREAL_SERIALIZE_FUNCTION_NAME(from, value, version...);
    else if constexpr (functions.style == CerealStyle::member_load_save)
      cereal::access::member_load(from, value, version...);
    else if constexpr (functions.style == CerealStyle::free_load_save)
      CEREAL_LOAD_FUNCTION_NAME(from, value, version...);
    else if constexpr (functions.style == CerealStyle::member_minimal) {
      using Minimal = decltype(cereal::access::member_save_minimal(std::declval<const Encoder&>(), value, version...));
      const auto minimal = read_value<std::remove_cvref_t<Minimal>>(from);
      cereal::access::member_load_minimal(std::as_const(from), value, minimal, version...);
    } else {
      using Minimal = decltype(CEREAL_SAVE_MINIMAL_FUNCTION_NAME(std::declval<const Encoder&>(), value, version...));
      const auto minimal = read_value<std::remove_cvref_t<Minimal>>(from);
      CEREAL_LOAD_MINIMAL_FUNCTION_NAME(std::as_const(from), value, minimal, version...);
    }
  };
  // What a class's own code thinks of the bytes is a DecodeError like any other.
  try {
    if constexpr (functions.versioned)
      call(from.template loadClassVersion<T>());
    else
      call();
  } catch (const Error&) {
    throw;
  } catch (const std::system_error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& refused) {
    throw_refused(type_name<T>(), refused.what());
  }
}

/// A default constructed T, also where only cereal::access may call the constructor.
template <class T>
T make_with_cereal(Decoder& from) {
  if constexpr (std::is_default_constructible_v<T>) {
    T value{};
    read_with_cereal(from, value);
    return value;
  } else {
    alignas(T) std::byte room[sizeof(T)];
    T* value = reinterpret_cast<T*>(room);
    cereal::access::construct(value);
    const struct Destroy {
      T* value;
      ~Destroy() { std::destroy_at(value); }
    } destroy{value};
    read_with_cereal(from, *value);
    return std::move(*value);
  }
}

template <class T>
T read_value(Decoder& from) {
  constexpr Kind k = kind<T>;
  if constexpr (refusal<T>() != Reason::none || k == Kind::unknown) {
    refuse<T>();
    __builtin_unreachable();
  } else if constexpr (k == Kind::travel) {
    const Nested<Decoder> level(from);
    return Travel<T>::decode(from);
  } else if constexpr (k == Kind::empty) {
    read_zero(from, type_name<T>());
    return T{};
  } else if constexpr (flat<T>) {
    return load_flat<T>(from.take(sizeof(T), type_name<T>()));
  } else if constexpr (k == Kind::boolean) {
    return static_cast<T>(read_flag(from, type_name<T>()));
  } else if constexpr (k == Kind::bits) {
    return read_bit_sequence<T>(from);
  } else if constexpr (k == Kind::bitset) {
    T bits;
    const std::byte* bytes = from.take(least_size<T>(), type_name<T>());
    read_bits(bytes, bits.size(), [&bits](std::size_t i, bool bit) { bits.set(i, bit); });
    return bits;
  } else if constexpr (k == Kind::sequence) {
    return read_sequence<T>(from);
  } else if constexpr (k == Kind::set) {
    return read_set<T>(from);
  } else if constexpr (k == Kind::map) {
    return read_map<T>(from);
  } else if constexpr (k == Kind::array) {
    return read_std_array<T>(from);
  } else if constexpr (k == Kind::tuple) {
    return read_tuple(from, std::type_identity<T>{});
  } else if constexpr (k == Kind::optional) {
    if (!read_flag(from, type_name<T>())) return T{};
    return T(std::in_place, read_value<std::remove_cv_t<typename T::value_type>>(from));
  } else if constexpr (k == Kind::pointee) {
    using Element = typename T::element_type;
    if (!read_flag(from, type_name<T>())) return T{};
    return T(new Element(read_value<std::remove_cv_t<Element>>(from)));
  } else if constexpr (k == Kind::variant) {
    return read_variant<T>(from, std::make_index_sequence<std::variant_size_v<T>>{});
  } else if constexpr (k == Kind::path) {
    return T(read_value<typename T::string_type>(from));
  } else if constexpr (k == Kind::cereal) {
    return make_with_cereal<T>(from);
  } else if constexpr (!layout<T>.seen_through) {
    static_assert(NotSendable<T, T, Reason::not_seen_through>::value);
    __builtin_unreachable();
  } else {
    const Nested<Decoder> level(from);
    return read_aggregate<T>(from, MemberTypes<T>{});
  }
}

template <class T>
void read_into(Decoder& from, T& value) {
  if constexpr (Wrapper<T>::known) {
    Wrapper<T>::read(from, value);
  } else if constexpr (std::is_array_v<T> && flat<T>) {
    std::memcpy(static_cast<void*>(&value), from.take(sizeof value, type_name<T>()), sizeof value);
  } else if constexpr (std::is_array_v<T>) {
    for (auto& element : value) read_into(from, element);
  } else if constexpr (kind<T> == Kind::cereal && refusal<T>() == Reason::none) {
    read_with_cereal(from, value);
  } else {
    value = read_value<T>(from);
  }
}

}  // namespace multiproc::detail
