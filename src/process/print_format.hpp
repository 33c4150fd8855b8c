// SPDX-License-Identifier: MIT
//
// src/process/print_format.hpp: fmt's formatting, with a short way for what most lines are made of.
//
// A line that holds integers and strings by nothing but "{}" costs a third of what fmt's general machinery takes for
// it, and that is as much as all the rest of a short print beside its system call. Everything else is fmt's.
#pragma once

#include <fmt/format.h>

#include <cstddef>
#include <cstring>
#include <type_traits>

namespace multiproc::detail {

/// A line in the making, in room that it may not exceed.
class PlainLine {
 public:
  PlainLine(char* room, std::size_t size) noexcept : at_(room), end_(room + size) {}

  char* end() const noexcept { return at_; }

  /// The format's own text up to the next brace, or to `end`. False: no room.
  bool take_text(const char*& from, const char* end) noexcept {
    if (end - from > end_ - at_) return false;
    while (from != end && *from != '{' && *from != '}') *at_++ = *from++;
    return true;
  }

  /// A value as "{}" shows it. False: not one of those that it knows, or no room.
  template <class T>
  bool operator()(const T& value) noexcept {
    if constexpr (std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, long long> ||
                  std::is_same_v<T, unsigned long long>) {
      const fmt::format_int digits(value);
      return append(digits.data(), digits.size());
    } else if constexpr (std::is_same_v<T, fmt::string_view>) {
      return append(value.data(), value.size());
    } else if constexpr (std::is_same_v<T, const char*>) {
      return value != nullptr && append(value, std::strlen(value));  // null: fmt has a word for that
    } else {
      return false;
    }
  }

 private:
  bool append(const char* text, std::size_t size) noexcept {
    if (size > static_cast<std::size_t>(end_ - at_)) return false;
    if (size != 0) std::memcpy(at_, text, size);
    at_ += size;
    return true;
  }

  char* at_;
  char* const end_;
};

/// The whole line into `out`, which is empty. False: not that kind of line, and `out` is as before.
inline bool format_plainly(fmt::memory_buffer& out, fmt::string_view format, fmt::format_args args) {
  PlainLine line(out.data(), out.capacity());
  const char* at = format.data();
  const char* const end = at + format.size();
  for (int next = 0; line.take_text(at, end); ++next) {
    if (at == end) {
      out.resize(static_cast<std::size_t>(line.end() - out.data()));
      return true;
    }
    if (*at != '{' || end - at < 2 || at[1] != '}') return false;
    at += 2;
#if FMT_VERSION >= 110000
    if (!args.get(next).visit(line)) return false;
#else
    if (!fmt::visit_format_arg(line, args.get(next))) return false;
#endif
  }
  return false;
}

/// As fmt::vformat_to: throws what a formatter throws, and fmt::format_error.
inline void format_line(fmt::memory_buffer& out, fmt::string_view format, fmt::format_args args) {
  if (!format_plainly(out, format, args)) fmt::vformat_to(fmt::appender(out), format, args);
}

}  // namespace multiproc::detail
