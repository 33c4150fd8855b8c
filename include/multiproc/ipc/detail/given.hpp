// SPDX-License-Identifier: MIT
//
// multiproc/ipc/detail/given.hpp: which Connections a forked child was given, among all whose copies it has.
//
// A copy that nobody uses keeps an end alive: its real owner closes it or dies, and the other side waits for ever. What
// the child was given is found by looking through the values that it was given. Between fork and target: nothing here
// allocates or waits.
#pragma once

#include <tuple>
#include <type_traits>
#include <variant>

#include <multiproc/ipc/connection.hpp>
#include <multiproc/ipc/detail/kind.hpp>

namespace multiproc::detail {

class Given {
 public:
  /// Whether this process has any Connections.
  static bool is_needed() noexcept;

  /// Notes all that are in `value`.
  template <class T>
  void look_into(const T& value) {
    constexpr Kind k = kind<T>;
    if constexpr (std::is_same_v<T, Connection>) {
      note(value);
    } else if constexpr (refusal<T>() != Reason::none || k == Kind::unknown || k == Kind::cereal) {
      is_complete_ = false;  // a pointer may lead to one
    } else if constexpr (k == Kind::sequence || k == Kind::set || k == Kind::array) {
      if constexpr (!flat_run<T> && !flat<T>) {
        for (const auto& element : value) look_into(element);
      }
    } else if constexpr (k == Kind::map) {
      for (const auto& [key, mapped] : value) {
        look_into(key);
        look_into(mapped);
      }
    } else if constexpr (k == Kind::tuple) {
      std::apply([this](const auto&... elements) { (this->look_into(elements), ...); }, value);
    } else if constexpr (k == Kind::optional || k == Kind::pointee) {
      if (value) look_into(*value);
    } else if constexpr (k == Kind::variant) {
      if (!value.valueless_by_exception()) std::visit([this](const auto& held) { this->look_into(held); }, value);
    } else if constexpr (k == Kind::aggregate) {
      if constexpr (flat<T>) {
      } else if constexpr (layout<T>.seen_through) {
        with_members(value, [this](const auto&... members) { (this->look_into(members), ...); });
      } else {
        is_complete_ = false;
      }
    }
  }

  /// There may be others, where nobody can look.
  void note_unseen() noexcept { is_complete_ = false; }

  /// In the child: closes all that it was not given; where there may be unseen ones, only the opposite ends of those
  /// that it was. Async-signal-safe.
  void close_others() const noexcept;

 private:
  static void note(const Connection& connection) noexcept;

  bool is_complete_ = true;
};

}  // namespace multiproc::detail
