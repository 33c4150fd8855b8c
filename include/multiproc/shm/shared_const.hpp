// SPDX-License-Identifier: MIT
//
// multiproc/shm/shared_const.hpp: SharedConst<T>, a value that is built once and then read by many processes.
//
//     mp::SharedConst table(load_table());      // of a Shareable struct: *table, table->rows
//     mp::SharedConst weights(load_weights());  // of a std::vector<float>: weights[i], for (float w : weights)
//     mp::Process(read, weights).start();       // void read(const mp::SharedConst<std::vector<float>>& weights)
//
// T is Shareable, or a contiguous range of Shareables that is not itself one: vector, string, span, boost's vectors. Of
// a range the elements are kept, and it reads like a std::span<const Element>, which get() gives; of a string get()
// gives the std::string_view. A string literal is an array, with its terminating zero: give a std::string_view.
//
// Every process maps the one copy read-only, its builder too, and the kernel refuses any other mapping of it: a stray
// write is a SIGSEGV where it happens and never another process's wrong number. No lock is needed, in any number of
// threads and processes. A handle is copied like a shared_ptr and is never empty.
//
// Fork, send  Forked children have it. It is sent as descriptor and size; a handle that arrives maps it anew.
// Death       The memory goes with the last process that has it. The death of the builder changes nothing.
// Refusals    SystemError from the constructor: no memory, no descriptor, with the remedy. Where the kernel gives no
//             memfd (a sandbox's filter) forked children share it, not write-protected, and sending throws Unsupported.
// Alignment   That of a page (4096) at the most; the value or the first element is at the start of one.
// Stands on   layout.hpp, os/constant_memory.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <ranges>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/shm/layout.hpp>

namespace multiproc {

namespace detail {

/// Bytes that nobody writes to: those of a SharedConst.
class ConstBlock {
 public:
  /// A copy of `bytes`; may be of none. Throws SystemError.
  static std::shared_ptr<const ConstBlock> make(std::span<const std::byte> bytes);

  ConstBlock() noexcept = default;
  ConstBlock(os::Fd memory, os::Mapping mapping) noexcept : memory_(std::move(memory)), mapping_(std::move(mapping)) {}

  std::span<const std::byte> bytes() const noexcept { return mapping_.bytes(); }

  template <class E>
  void send(E& to) const {
    to(static_cast<std::uint64_t>(bytes().size()));
    if (!bytes().empty()) to.attach(descriptor());
  }
  /// DecodeError: not `each` bytes, or, of a range, not a multiple of them.
  template <class D>
  static std::shared_ptr<const ConstBlock> receive(D& from, std::size_t each, bool is_range) {
    const auto size = from.template read<std::uint64_t>();
    return size == 0 ? adopt({}, 0, each, is_range) : adopt(from.take_fd(), size, each, is_range);
  }

 private:
  os::Fd descriptor() const;
  static std::shared_ptr<const ConstBlock> adopt(os::Fd memory, std::uint64_t size, std::size_t each, bool is_range);

  os::Fd memory_;
  os::Mapping mapping_;
};

inline constexpr std::size_t kLeastPage = 4096;  // of any machine

template <class T>
concept RangeOfShareables = !Shareable<T> && std::ranges::contiguous_range<const T> &&
                            std::ranges::sized_range<const T> && Shareable<std::ranges::range_value_t<const T>>;

template <class T>
struct ViewOf {
  using type = std::span<const std::ranges::range_value_t<const T>>;
};
template <class T>
  requires std::is_convertible_v<const T&, std::basic_string_view<typename T::value_type, typename T::traits_type>>
struct ViewOf<T> {
  using type = std::basic_string_view<typename T::value_type, typename T::traits_type>;
};

}  // namespace detail

/// Of one value.
template <class T>
class SharedConst {
  using Explained = decltype(detail::explain_shareable<T>());
  static_assert(Shareable<T>,
                "multiproc: SharedConst<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside), or "
                "a contiguous range of Shareables");
  static_assert(alignof(T) <= detail::kLeastPage, "multiproc: SharedConst<T>: T is aligned to more than a page");

 public:
  explicit SharedConst(const T& value)
      : SharedConst(detail::ConstBlock::make(std::as_bytes(std::span(std::addressof(value), 1)))) {}
  SharedConst(const SharedConst&) noexcept = default;  // a move is a copy: no handle is ever without its value
  SharedConst& operator=(const SharedConst&) noexcept = default;

  const T& get() const noexcept { return *value_; }
  const T& operator*() const noexcept { return *value_; }
  const T* operator->() const noexcept { return value_; }

 private:
  friend struct Travel<SharedConst>;
  explicit SharedConst(std::shared_ptr<const detail::ConstBlock> block) noexcept
      : block_(std::move(block)), value_(reinterpret_cast<const T*>(block_->bytes().data())) {}

  std::shared_ptr<const detail::ConstBlock> block_;
  const T* value_;
};

/// Of the elements of a range. Built from any contiguous range of them.
template <detail::RangeOfShareables T>
class SharedConst<T> {
 public:
  using value_type = std::remove_cv_t<std::ranges::range_value_t<const T>>;
  using view_type = typename detail::ViewOf<T>::type;
  static_assert(alignof(value_type) <= detail::kLeastPage,
                "multiproc: SharedConst<T>: its elements are aligned to more than a page");

  template <class Range>
    requires(!std::is_same_v<Range, SharedConst>) && std::ranges::contiguous_range<const Range> &&
            std::ranges::sized_range<const Range> && std::is_same_v<std::ranges::range_value_t<const Range>, value_type>
  explicit SharedConst(const Range& elements)
      : SharedConst(detail::ConstBlock::make(std::as_bytes(std::span<const value_type>(
            std::ranges::data(elements), static_cast<std::size_t>(std::ranges::size(elements)))))) {}
  explicit SharedConst(std::initializer_list<value_type> elements)
      : SharedConst(std::span<const value_type>(elements.begin(), elements.size())) {}
  SharedConst(const SharedConst&) noexcept = default;
  SharedConst& operator=(const SharedConst&) noexcept = default;

  view_type get() const noexcept { return view_type(elements_.data(), elements_.size()); }
  view_type operator*() const noexcept { return get(); }

  const value_type* data() const noexcept { return elements_.data(); }
  std::size_t size() const noexcept { return elements_.size(); }
  bool empty() const noexcept { return elements_.empty(); }
  const value_type& operator[](std::size_t index) const noexcept { return elements_[index]; }
  const value_type* begin() const noexcept { return data(); }
  const value_type* end() const noexcept { return data() + size(); }

 private:
  friend struct Travel<SharedConst>;
  explicit SharedConst(std::shared_ptr<const detail::ConstBlock> block) noexcept
      : block_(std::move(block)),
        elements_(reinterpret_cast<const value_type*>(block_->bytes().data()),
                  block_->bytes().size() / sizeof(value_type)) {}

  std::shared_ptr<const detail::ConstBlock> block_;
  std::span<const value_type> elements_;
};

template <class T>
  requires(Shareable<T> || detail::RangeOfShareables<T>)
SharedConst(const T&) -> SharedConst<T>;

template <class T>
struct Travel<SharedConst<T>> {
  template <class E>
  static void encode(E& to, const SharedConst<T>& value) {
    value.block_->send(to);
  }
  template <class D>
  static SharedConst<T> decode(D& from) {
    if constexpr (detail::RangeOfShareables<T>) {
      return SharedConst<T>(detail::ConstBlock::receive(from, sizeof(typename SharedConst<T>::value_type), true));
    } else {
      return SharedConst<T>(detail::ConstBlock::receive(from, sizeof(T), false));
    }
  }
};

}  // namespace multiproc
