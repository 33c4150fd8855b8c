// SPDX-License-Identifier: MIT
//
// multiproc/sync/shared_string.hpp: a text that threads and processes write together.
//
// A handle like shared_vector, with the same lock at every call and the same promises. The text may hold any bytes, and
// a 0 stands behind it. Views and iterators of it are good while the lock is held. A handle is as const as a pointer
// is.
//
// Death       A process that is killed in a call has done it or has not. No memory is lost.
// Fork        As shared_vector.
// Limits      max_bytes, 1 GiB unless told otherwise and at least 64 KiB. One descriptor a string. What moves or
//             overwrites more than 1 MiB of the text needs its size a second time; one with() as shared_vector's.
// Stands on   sync/shared_vector.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <fmt/core.h>

#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/sync/detail/store.hpp>
#include <multiproc/sync/rlock.hpp>
#include <multiproc/sync/shared_vector.hpp>

namespace multiproc {

/// Example:
///
///     shared_string report;
///     Process worker{[](shared_string mine) { mine += "done\n"; }, report};
class shared_string {  // NOLINT(readability-identifier-naming): as std's
 public:
  /// SystemError: no memory, no descriptor.
  explicit shared_string(SharedContainerOptions options = {});
  explicit shared_string(std::string_view text, SharedContainerOptions options = {});
  shared_string(const char* text) : shared_string(std::string_view(text)) {}

  shared_string(const shared_string&) = default;
  /// Names the other's text from now on. Of a plain text: writes it into this one.
  shared_string& operator=(const shared_string&) = default;
  shared_string& operator=(std::string_view text) {
    assign(text);
    return *this;
  }
  shared_string& operator=(const char* text) { return *this = std::string_view(text); }
  const shared_string& operator=(std::string_view text) const {
    assign(text);
    return *this;
  }
  const shared_string& operator=(const char* text) const { return *this = std::string_view(text); }

  /// A copy.
  std::string str() const;
  operator std::string() const { return str(); }
  std::size_t size() const;
  std::size_t length() const { return size(); }
  bool empty() const { return size() == 0; }

  /// SystemError: no memory, or above max_bytes. The text is as it was.
  void assign(std::string_view text) const;
  void append(std::string_view text) const;
  void push_back(char letter) const { append({&letter, 1}); }
  const shared_string& operator+=(std::string_view text) const {
    append(text);
    return *this;
  }
  const shared_string& operator+=(char letter) const {
    push_back(letter);
    return *this;
  }
  /// std::out_of_range: `at` is behind the end.
  void insert(std::size_t at, std::string_view text) const;
  void erase(std::size_t at, std::size_t letters = std::string_view::npos) const;
  void clear() const { assign({}); }

  /// F(shared_string&) under the lock; a copy of what F returns. All calls in it happen together, or none of them.
  template <class F>
  auto with(F&& changes) const {
    shared_string self = *this;
    return detail::change_by_caller(store_, [&](detail::Operation&) { return std::forward<F>(changes)(self); });
  }
  RLock& get_lock() const noexcept { return store_.lock(); }

  // Under get_lock(), for as long as what they return is used.
  std::string_view view() const noexcept;
  const char* c_str() const noexcept { return view().data(); }
  const char* data() const noexcept { return view().data(); }
  char operator[](std::size_t index) const noexcept { return view()[index]; }
  char front() const noexcept { return view().front(); }
  char back() const noexcept { return view().back(); }
  std::string_view::const_iterator begin() const noexcept { return view().begin(); }
  std::string_view::const_iterator end() const noexcept { return view().end(); }

  /// Is this its text?
  friend bool operator==(const shared_string& a, std::string_view text) {
    const detail::Operation call(a.store_);
    return a.view() == text;
  }
  friend bool operator==(const shared_string& a, const char* text) { return a == std::string_view(text); }
  friend std::ostream& operator<<(std::ostream& to, const shared_string& text) { return to << text.str(); }
  /// Do both name the same text? (Of two texts compare str().)
  friend bool operator==(const shared_string& a, const shared_string& b) noexcept {
    return &a.store_.head() == &b.store_.head();
  }

 private:
  friend struct Travel<shared_string>;
  explicit shared_string(const detail::Place& place);

  detail::Buffer& buffer() const noexcept { return *reinterpret_cast<detail::Buffer*>(store_.head().root.data()); }
  void replace(std::size_t at, std::size_t removed, std::string_view text) const;

  detail::Store store_;
};

template <>
struct Travel<shared_string> {
  template <class Encoder>
  static void encode(Encoder& to, const shared_string& text) {
    detail::send_place(to, text.store_.place());
  }
  template <class Decoder>
  static shared_string decode(Decoder& from) {
    return shared_string(detail::receive_place(from));
  }
};

}  // namespace multiproc

/// println("{:>20}", text)
template <>
struct fmt::formatter<multiproc::shared_string> : fmt::formatter<std::string_view> {
  template <class Context>
  auto format(const multiproc::shared_string& text, Context& context) const {
    return fmt::formatter<std::string_view>::format(text.str(), context);
  }
};
