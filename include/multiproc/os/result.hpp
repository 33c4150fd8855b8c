// SPDX-License-Identifier: MIT
//
// multiproc/os/result.hpp: a value, or the call that the kernel refused and its errno.
//
// The os floor answers with Results, noexcept and without allocation, so that its calls may stand between fork and
// exec. or_throw() is the one door from there to exceptions; its text reads "call: object: reason. Remedy."
#pragma once

#include <string_view>
#include <type_traits>
#include <utility>

namespace multiproc::os {

/// Which call was refused, and why. `call` is a string literal; `error` an errno, 0 for "nothing failed".
struct Failure {
  const char* call = "";
  int error = 0;
};

/// Throws multiproc::SystemError: "call: object: reason. Remedy." Both texts may be empty.
[[noreturn]] void throw_failure(Failure failure, std::string_view object, std::string_view remedy = {});

struct Nothing {};  // the value of a Result that has none

template <class T = Nothing>
class [[nodiscard]] Result {
  static_assert(std::is_nothrow_default_constructible_v<T> && std::is_nothrow_move_constructible_v<T>);

 public:
  Result() noexcept = default;
  Result(T value) noexcept : value_(std::move(value)) {}
  Result(Failure failure) noexcept : failure_(failure) {}

  bool ok() const noexcept { return failure_.error == 0; }
  explicit operator bool() const noexcept { return ok(); }
  int error() const noexcept { return failure_.error; }
  Failure failure() const noexcept { return failure_; }

  T& value() & noexcept { return value_; }
  const T& value() const& noexcept { return value_; }
  T&& value() && noexcept { return std::move(value_); }

  /// The value, or throw_failure(object, remedy).
  T or_throw(std::string_view object, std::string_view remedy = {}) && {
    if (!ok()) throw_failure(failure_, object, remedy);
    return std::move(value_);
  }

 private:
  T value_{};
  Failure failure_{};
};

}  // namespace multiproc::os
