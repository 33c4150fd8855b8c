// SPDX-License-Identifier: MIT
//
// multiproc/sync/shared_vector.hpp: a std::vector that threads and processes grow together.
//
// A shared_vector is a handle: copies name the same elements, a forked child has them, and it may be sent to any
// process of this machine, also while somebody has its lock. It is as const as a pointer is: the elements can be
// changed through a const one. Every call takes the vector's lock; get_lock() holds it over several. References and
// iterators are good while the lock is held: another process's insertion may move the elements.
//
// Visibility  What was done to the vector before a call of another thread or process is visible to that call.
// Death       A process that is killed in a call has done it or has not; what it had begun is undone by the next one
//             that has the lock. No memory is lost. Writes through references are not undone.
// Fork        A child that is forked within with() does not own the lock: it waits for it as others do, and what it
//             does on its way out of with() changes nothing.
// Limits      max_bytes, 1 GiB unless told otherwise and at least 64 KiB: address space, of which memory is taken as it
//             is needed. One descriptor a vector. A held lock must not lose its last handle. T is aligned to a page at
//             the most. What moves or overwrites more than 1 MiB (an insertion, erasure or assignment; not push_back)
//             needs its size a second time. One with() may overwrite 1 MiB of what was there before, some 40000
//             elements one by one, and add as many as it likes. Memory that another process has written over is found
//             where it can be, by DecodeError or InvalidState.
// Cost        The lock, and the copy of what is overwritten. Inserting in the middle moves the rest, once to a new
//             block when it is more than 1 MiB.
// Stands on   sync/rlock.hpp, shm/heap.hpp.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <new>
#include <ranges>
#include <type_traits>
#include <utility>
#include <vector>

#include <multiproc/error.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/sync/array.hpp>
#include <multiproc/sync/detail/store.hpp>
#include <multiproc/sync/rlock.hpp>

namespace multiproc {

/// The most that a container may grow to; 0: 1 GiB, or less where the limits of this process are lower. Less than 64
/// KiB counts as 64 KiB. Not all of it can be used: blocks have one of four sizes between a number of bytes and its
/// double (8, 10, 12, 14, 16 MiB), so that up to a fifth of what elements or texts take, or of what a lone vector or
/// string may take, is left over. Unsupported: more than any machine has.
struct SharedContainerOptions {
  std::size_t max_bytes = 0;
};

template <class T>
class shared_vector;

namespace detail {
template <class T>
inline constexpr bool is_shared_vector = false;
template <class T>
inline constexpr bool is_shared_vector<shared_vector<T>> = true;
}  // namespace detail

/// Example:
///
///     shared_vector<int> found;
///     Process worker{[](shared_vector<int> mine) { mine.push_back(42); }, found};
template <class T>
class shared_vector {  // NOLINT(readability-identifier-naming): as std's
  static_assert(Shareable<T>,
                "multiproc: shared_vector<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)");
  static_assert(alignof(T) <= 4096, "multiproc: shared_vector<T>: T is aligned to more than a page");
  static_assert(!std::is_const_v<T> && !std::is_volatile_v<T>, "multiproc: shared_vector<T>: T is const or volatile");

 public:
  using value_type = T;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using iterator = T*;
  using const_iterator = const T*;

  /// An empty one. SystemError: no memory, no descriptor.
  explicit shared_vector(SharedContainerOptions options = {}) : store_(kKind, options.max_bytes) {}
  shared_vector(std::initializer_list<T> elements, SharedContainerOptions options = {}) : shared_vector(options) {
    assign(elements);
  }
  /// So many copies of `value`: T{} has to be said, for a number alone would stand where {.max_bytes = n} does.
  shared_vector(std::size_t elements, const T& value, SharedContainerOptions options = {}) : shared_vector(options) {
    resize(elements, value);
  }
  template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
  shared_vector(Iterator first, End last, SharedContainerOptions options = {}) : shared_vector(options) {
    assign(std::ranges::subrange(std::move(first), std::move(last)));
  }
  template <std::ranges::input_range Range>
    requires(!std::is_same_v<std::remove_cvref_t<Range>, shared_vector>) &&
            std::is_constructible_v<T, std::ranges::range_reference_t<Range>>
  // NOLINTNEXTLINE(bugprone-forwarding-reference-overload): the constraint keeps it from that
  explicit shared_vector(Range&& elements, SharedContainerOptions options = {}) : shared_vector(options) {
    assign(std::forward<Range>(elements));
  }

  shared_vector(const shared_vector&) = default;
  shared_vector& operator=(const shared_vector&) = default;

  std::size_t size() const {
    const detail::Operation call(store_);
    return count();
  }
  bool empty() const { return size() == 0; }
  std::size_t capacity() const {
    const detail::Operation call(store_);
    return static_cast<std::size_t>(buffer().capacity) / sizeof(T);
  }
  void reserve(std::size_t elements) const {
    detail::change(store_, [&](detail::Operation& call) { buffer().reserve(call, bytes_of(elements)); });
  }

  /// Copies, taken and put under the lock. std::out_of_range.
  T get(std::size_t index) const {
    const detail::Operation call(store_);
    return *element(index);
  }
  void set(std::size_t index, const T& value) const {
    const Apart apart(store_, value);
    with(index, [&](T& here) { here = *apart; });
  }
  std::vector<T> to_vector() const {
    const detail::Operation call(store_);
    return std::vector<T>(data(), data() + count());
  }

  void push_back(const T& value) const {
    const Apart apart(store_, value);
    detail::change(store_, [&](detail::Operation& call) { std::construct_at(gap(call, count(), 0, 1), *apart); });
  }
  template <class... Args>
  void emplace_back(Args&&... args) const {
    if constexpr (sizeof(T) > kMostOnStack)
      push_back(*std::unique_ptr<T>(new T(std::forward<Args>(args)...)));
    else
      push_back(T(std::forward<Args>(args)...));
  }
  /// std::out_of_range: it is empty.
  void pop_back() const {
    detail::change(store_, [&](detail::Operation& call) {
      (void)element(0);
      gap(call, count() - 1, 1, 0);
    });
  }

  /// Before the element at `index`, or at the end. std::out_of_range.
  template <std::integral Index>
  void insert(Index index, const T& value) const {
    const Apart apart(store_, value);
    detail::change(store_, [&](detail::Operation& call) {
      std::construct_at(gap(call, position(static_cast<std::size_t>(index)), 0, 1), *apart);
    });
  }
  /// Under get_lock(), as all that has iterators.
  iterator insert(const_iterator before, const T& value) const {
    const auto index = static_cast<std::size_t>(before - data());
    insert(index, value);
    return data() + index;
  }
  template <std::integral Index>
  void erase(Index index, std::size_t elements = 1) const {
    detail::change(store_, [&](detail::Operation& call) {
      const std::size_t first = position(static_cast<std::size_t>(index));
      if (elements > count() - first) detail::throw_out_of_range("shared_vector", first + elements - 1, count());
      gap(call, first, elements, 0);
    });
  }
  iterator erase(const_iterator first, const_iterator last) const {
    const auto index = static_cast<std::size_t>(first - data());
    erase(index, static_cast<std::size_t>(last - first));
    return data() + index;
  }
  iterator erase(const_iterator at) const { return erase(at, at + 1); }

  /// New ones are T() or `value`.
  void resize(std::size_t elements) const {
    resize_and(elements, [](T* first, std::size_t fresh) { std::uninitialized_value_construct_n(first, fresh); });
  }
  void resize(std::size_t elements, const T& value) const {
    const Apart apart(store_, value);
    resize_and(elements, [&](T* first, std::size_t fresh) { std::uninitialized_fill_n(first, fresh, *apart); });
  }
  void clear() const {
    detail::change(store_, [&](detail::Operation& call) { gap(call, 0, count(), 0); });
  }

  template <std::ranges::input_range Range>
    requires std::is_constructible_v<T, std::ranges::range_reference_t<Range>>
  void assign(Range&& elements) const {
    if constexpr (detail::is_shared_vector<std::remove_cvref_t<Range>>) {
      assign(elements.to_vector());  // under its own lock
    } else {
      // std::vector<bool> has no elements that could be copied at once.
      std::vector<std::conditional_t<std::is_same_v<T, bool>, unsigned char, T>> kept;
      for (auto&& element : elements) {
        if constexpr (std::is_same_v<std::remove_const_t<std::remove_reference_t<decltype(element)>>, T>)
          kept.push_back(element);
        else
          kept.push_back(T(std::forward<decltype(element)>(element)));
      }
      replace_all(kept.data(), kept.size());
    }
  }
  void assign(std::initializer_list<T> elements) const { replace_all(elements.begin(), elements.size()); }

  /// F(T&) of one element under the lock; a copy of what F returns. When F throws, the element is as before. F may read
  /// the others and write single ones. std::out_of_range; InvalidState: F inserts or removes elements.
  template <class F>
  auto with(std::size_t index, F&& update) const {
    return detail::change_by_caller(store_, [&](detail::Operation& call) {
      T* const here = element(index);
      call.heap().keep(here, sizeof(T));
      call.lend(buffer().data);
      return std::forward<F>(update)(*here);
    });
  }
  /// F(shared_vector&) under the lock; a copy of what F returns. All calls in it happen together, or, when F throws or
  /// the process is killed, none of them; what is written through a reference is not undone, that by set() and
  /// with(index, F) is. InvalidState: more than can be undone (see Limits); do less at a time.
  template <class F>
    requires std::is_invocable_v<F, shared_vector&>
  auto with(F&& changes) const {
    shared_vector self = *this;
    return detail::change_by_caller(store_, [&](detail::Operation&) { return std::forward<F>(changes)(self); });
  }
  RLock& get_lock() const noexcept { return store_.lock(); }

  // Under get_lock(), for as long as the reference or iterator is used.
  T& operator[](std::size_t index) const noexcept { return data()[index]; }
  T& at(std::size_t index) const {
    store_.settle();
    return *element(index);
  }
  T& front() const noexcept { return data()[0]; }
  T& back() const noexcept { return *(end() - 1); }
  T* data() const noexcept {
    store_.settle();
    const std::uint64_t at = buffer().data;
    return at == 0 ? nullptr : reinterpret_cast<T*>(store_.base() + at);
  }
  T* begin() const noexcept { return data(); }
  T* end() const noexcept {
    T* const first = data();
    return first + count();
  }
  const T* cbegin() const noexcept { return begin(); }
  const T* cend() const noexcept { return end(); }
  auto rbegin() const noexcept { return std::reverse_iterator<T*>(end()); }
  auto rend() const noexcept { return std::reverse_iterator<T*>(begin()); }

  /// Do both name the same vector?
  friend bool operator==(const shared_vector& a, const shared_vector& b) noexcept {
    return &a.store_.head() == &b.store_.head();
  }

 private:
  friend struct Travel<shared_vector>;
  static constexpr detail::StoreKind kKind{
      1,
      {sizeof(T), alignof(T)},
      std::max<std::size_t>(alignof(T), 16),
      detail::kJournalRoom + 2 * detail::Journal::taken_by(sizeof(T)),
      [](const detail::StoreHead& head) {
        return reinterpret_cast<const detail::Buffer*>(head.root.data())->is_plausible(head.heap.top, sizeof(T));
      }};

  static constexpr std::size_t kMostOnStack = 4096;

  // What the caller gave. Of one of our own elements, which may move, a copy: not on the stack, for it may be large.
  class Apart {
   public:
    Apart(const detail::Store& store, const T& value)
        : copy_(store.contains(&value) ? std::make_unique<T>(value) : nullptr), value_(copy_ ? *copy_ : value) {}
    const T& operator*() const noexcept { return value_; }

   private:
    const std::unique_ptr<const T> copy_;
    const T& value_;
  };

  explicit shared_vector(const detail::Place& place) : store_(kKind, place) {}

  detail::Buffer& buffer() const noexcept { return *reinterpret_cast<detail::Buffer*>(store_.head().root.data()); }
  std::size_t count() const noexcept { return static_cast<std::size_t>(buffer().size) / sizeof(T); }
  T* element(std::size_t index) const {
    if (index >= count()) detail::throw_out_of_range("shared_vector", index, count());
    return data() + index;
  }
  std::size_t position(std::size_t index) const {
    if (index > count()) detail::throw_out_of_range("shared_vector", index, count());
    return index;
  }
  static std::size_t bytes_of(std::size_t elements) {
    constexpr auto kMost = static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(T);
    if (elements > kMost) detail::throw_too_many("shared_vector", elements);
    return elements * sizeof(T);
  }
  T* gap(const detail::Operation& call, std::size_t at, std::size_t removed, std::size_t inserted) const {
    return reinterpret_cast<T*>(buffer().splice(call, bytes_of(at), bytes_of(removed), bytes_of(inserted)));
  }
  template <class Fill>
  void resize_and(std::size_t elements, const Fill& fill) const {
    detail::change(store_, [&](detail::Operation& call) {
      const std::size_t before = count();
      if (elements < before)
        gap(call, elements, before - elements, 0);
      else if (elements > before)
        fill(gap(call, before, 0, elements - before), elements - before);
    });
  }
  template <class From>
  void replace_all(const From* elements, std::size_t number) const {
    detail::change(store_, [&](detail::Operation& call) {
      std::uninitialized_copy_n(elements, number, gap(call, 0, count(), number));
    });
  }

  detail::Store store_;
};

template <std::ranges::input_range Range>
  requires(!detail::is_shared_vector<std::remove_cvref_t<Range>>)
explicit shared_vector(Range&&, SharedContainerOptions = {}) -> shared_vector<std::ranges::range_value_t<Range>>;
template <std::input_iterator Iterator, std::sentinel_for<Iterator> End>
shared_vector(Iterator, End, SharedContainerOptions = {}) -> shared_vector<std::iter_value_t<Iterator>>;

template <class T>
struct Travel<shared_vector<T>> {
  template <class Encoder>
  static void encode(Encoder& to, const shared_vector<T>& vector) {
    detail::send_place(to, vector.store_.place());
  }
  template <class Decoder>
  static shared_vector<T> decode(Decoder& from) {
    return shared_vector<T>(detail::receive_place(from));
  }
};

}  // namespace multiproc
