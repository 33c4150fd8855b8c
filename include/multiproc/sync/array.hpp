// SPDX-License-Identifier: MIT
//
// multiproc/sync/array.hpp: a fixed number of elements in memory that threads and processes share.
//
// An Array is a handle: copies name the same elements, a forked child has them, and it may be sent to any process of
// this machine. It is a contiguous range; like std::span it is const without its elements being so. Elements are read
// and written as plain memory; with() and get_lock() are for those who have to be alone.
//
// Visibility  What was done under the lock is visible to whoever has it next.
// Death       The elements stay as a killed process left them, half written ones too. The next owner of the lock is
//             told, once: by get_lock().lock(), or by with() when its function takes an Acquired as well. A function
//             that does not take it gives the news up, for the owners after it too.
// Limits      T is aligned to a page at the most. One descriptor an array. Its lock stands among the small objects,
//             whose memory stays: it may be held when the last handle goes.
// Cost        All memory is reserved by the constructor; access costs what plain memory does.
// Stands on   sync/lock.hpp, shm/segment.hpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <ranges>
#include <span>
#include <type_traits>
#include <utility>

#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/shm/segment.hpp>
#include <multiproc/sync/lock.hpp>

namespace multiproc {

namespace detail {

struct ArrayHead {
  static constexpr std::uint64_t kMagic = 0x79617272'61706d75;  // "umparray"
  static constexpr std::uint32_t kVersion = 2;

  LayoutStamp stamp;
  std::uint64_t count = 0;
  std::uint64_t element_size = 0;
};
inline constexpr std::size_t kArrayHead = 64;
static_assert(sizeof(ArrayHead) <= kArrayHead);

/// SystemError: no memory, with the size, the room and the remedy; ENOMEM too where no size_t holds the bytes.
Place make_array(std::size_t count, std::size_t element_size, std::size_t elements_at);
/// How many there are. DecodeError: there is no array of such elements.
std::size_t count_of_array(const Place& place, std::size_t element_size, std::size_t elements_at);
[[noreturn]] void throw_out_of_range(const char* name, std::size_t index, std::size_t size);

}  // namespace detail

/// Example:
///
///     Array<double> sums(workers);
///     Process worker{[](Array<double> mine, std::size_t me) { mine[me] = work(); }, sums, me};
template <class T>
class Array {
  using Explained = decltype(detail::explain_shareable<T>());
  static_assert(Shareable<T>,
                "multiproc: Array<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)");
  static_assert(alignof(T) <= 4096, "multiproc: Array<T>: T is aligned to more than a page");
  static_assert(!std::is_const_v<T> && !std::is_volatile_v<T>, "multiproc: Array<T>: T is const or volatile");

 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using pointer = T*;
  using iterator = T*;
  using const_iterator = const T*;

  /// `count` elements, T{} each. As with std::vector, Array<int>(5) has five elements and Array<int>{5} one.
  explicit Array(std::size_t count) : Array(detail::make_array(count, sizeof(T), kElementsAt), count, Lock()) {
    if constexpr (!std::is_trivially_default_constructible_v<T>) std::uninitialized_value_construct_n(data(), count);
  }
  Array(std::initializer_list<T> elements) : Array(std::span<const T>(elements.begin(), elements.size()), 0) {}
  template <std::ranges::input_range Range>
    requires(!std::is_same_v<std::remove_cvref_t<Range>, Array>) &&
            std::is_constructible_v<T, std::ranges::range_reference_t<Range>>
  // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): the constraint keeps it from that
  explicit Array(Range&& elements) : Array(std::forward<Range>(elements), 0) {}

  Array(const Array&) = default;
  Array& operator=(const Array&) = default;

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  T* data() const noexcept { return data_; }
  std::span<T> span() const noexcept { return {data_, size_}; }
  operator std::span<T>() const noexcept { return span(); }

  T& operator[](std::size_t index) const noexcept { return data_[index]; }
  /// std::out_of_range.
  T& at(std::size_t index) const {
    if (index >= size_) detail::throw_out_of_range("Array", index, size_);
    return data_[index];
  }
  T& front() const noexcept { return data_[0]; }
  T& back() const noexcept { return data_[size_ - 1]; }

  T* begin() const noexcept { return data_; }
  T* end() const noexcept { return data_ + size_; }
  const T* cbegin() const noexcept { return begin(); }
  const T* cend() const noexcept { return end(); }
  auto rbegin() const noexcept { return std::reverse_iterator<T*>(end()); }
  auto rend() const noexcept { return std::reverse_iterator<T*>(begin()); }

  void fill(const T& value) const { std::fill_n(data_, size_, T(value)); }

  /// F(std::span<T>) or F(std::span<T>, Acquired) under the lock, also of a thread that holds it; what F returns.
  /// Nothing is undone. The second kind is told whether the owner before died; `clean` for a thread that holds it.
  template <class F>
  decltype(auto) with(F&& change) const {
    const detail::Place kept = place_;  // F may make the handle name another array
    const Held held(lock_);
    if constexpr (std::is_invocable_v<F, std::span<T>, Acquired>) {
      return std::forward<F>(change)(span(), held.how);
    } else {
      return std::forward<F>(change)(span());
    }
  }
  Lock& get_lock() const noexcept { return lock_; }

  /// Do both name the same elements?
  friend bool operator==(const Array& a, const Array& b) noexcept { return a.data_ == b.data_; }

 private:
  friend struct Travel<Array>;
  static constexpr std::size_t kElementsAt = std::max(detail::kArrayHead, alignof(T));

  struct Held {
    explicit Held(const Lock& which) : lock(which), is_mine_already(which.is_mine()) {
      if (!is_mine_already) how = lock.lock();
    }
    ~Held() {
      // In a child that was forked in F it is the parent's, who releases it.
      if (!is_mine_already && lock.is_mine()) lock.unlock();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    const Lock lock;
    bool is_mine_already;
    Acquired how = Acquired::clean;
  };

  struct Made {
    detail::Place place;
    std::size_t count;
  };
  template <class Range>
  Array(Range&& elements, int) : Array(make_from(std::forward<Range>(elements))) {}
  explicit Array(Made made) : Array(std::move(made.place), made.count, Lock()) {}
  template <class Range>
  static Made make_from(Range&& elements) {
    if constexpr (std::ranges::forward_range<Range>) {
      const auto count = static_cast<std::size_t>(std::ranges::distance(elements));
      detail::Place place = detail::make_array(count, sizeof(T), kElementsAt);
      auto* to = reinterpret_cast<T*>(place.address() + kElementsAt);
      for (auto&& element : elements) std::construct_at(to++, std::forward<decltype(element)>(element));
      return {std::move(place), count};
    } else {
      std::deque<T> kept;  // a vector of bool has no bools
      for (auto&& element : elements) kept.push_back(T(std::forward<decltype(element)>(element)));
      return make_from(kept);
    }
  }

  Array(detail::Place place, std::size_t count, const Lock& lock)
      : place_(std::move(place)),
        data_(reinterpret_cast<T*>(place_.address() + kElementsAt)),
        size_(count),
        lock_(lock) {}

  detail::Place place_;
  T* data_;
  std::size_t size_;
  mutable Lock lock_;
};

template <std::ranges::input_range Range>
explicit Array(Range&&) -> Array<std::ranges::range_value_t<Range>>;

template <class T>
struct Travel<Array<T>> {
  template <class Encoder>
  static void encode(Encoder& to, const Array<T>& array) {
    Travel<Lock>::encode(to, array.lock_);
    detail::send_place(to, array.place_);
  }
  template <class Decoder>
  static Array<T> decode(Decoder& from) {
    Lock lock = Travel<Lock>::decode(from);
    detail::Place place = detail::receive_place(from);
    const std::size_t count = detail::count_of_array(place, sizeof(T), Array<T>::kElementsAt);
    return Array<T>(std::move(place), count, std::move(lock));
  }
};

}  // namespace multiproc
