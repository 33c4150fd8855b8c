// SPDX-License-Identifier: MIT
//
// multiproc/sync/shared_string.hpp: a text that threads and processes write together.
//
// A handle like shared_vector, with the same lock at every call and the same promises. The text may hold any bytes, and
// a 0 stands behind it. Views of it are good while the lock is held.
//
// Death       A process that is killed in a call has done it or has not. No memory is lost.
// Limits      max_bytes, 1 GiB unless told otherwise. One descriptor a string.
// Stands on   sync/shared_vector.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

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

  shared_string(const shared_string&) = default;
  shared_string& operator=(const shared_string&) = default;
  shared_string& operator=(std::string_view text) {
    assign(text);
    return *this;
  }

  /// A copy.
  std::string str() const;
  operator std::string() const { return str(); }
  std::size_t size() const;
  bool empty() const { return size() == 0; }

  /// SystemError: no memory, or above max_bytes. The text is as it was.
  void assign(std::string_view text);
  void append(std::string_view text);
  void push_back(char letter) { append({&letter, 1}); }
  shared_string& operator+=(std::string_view text) {
    append(text);
    return *this;
  }
  shared_string& operator+=(char letter) {
    push_back(letter);
    return *this;
  }
  /// std::out_of_range: `at` is behind the end.
  void insert(std::size_t at, std::string_view text);
  void erase(std::size_t at, std::size_t letters = std::string_view::npos);
  void clear() { assign({}); }

  /// F(shared_string&) under the lock; a copy of what F returns. All calls in it happen together, or none of them.
  template <class F>
  auto with(F&& changes) {
    detail::Operation call(store_);
    if constexpr (std::is_void_v<std::invoke_result_t<F, shared_string&>>) {
      std::forward<F>(changes)(*this);
      call.commit();
    } else {
      auto result = std::forward<F>(changes)(*this);
      call.commit();
      return result;
    }
  }
  RLock& get_lock() const noexcept { return store_.lock(); }

  // Under get_lock(), for as long as what they return is used.
  std::string_view view() const noexcept;
  const char* c_str() const noexcept { return view().data(); }
  const char* data() const noexcept { return view().data(); }

  /// Is this its text?
  friend bool operator==(const shared_string& a, std::string_view text) {
    const detail::Operation call(a.store_);
    return a.view() == text;
  }
  /// Do both name the same text? (Of two texts compare str().)
  friend bool operator==(const shared_string& a, const shared_string& b) noexcept {
    return &a.store_.head() == &b.store_.head();
  }

 private:
  friend struct Travel<shared_string>;
  explicit shared_string(const detail::Place& place);

  detail::Buffer& buffer() const noexcept { return *reinterpret_cast<detail::Buffer*>(store_.head().root.data()); }
  void replace(std::size_t at, std::size_t removed, std::string_view text);

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
