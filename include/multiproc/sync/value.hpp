// SPDX-License-Identifier: MIT
//
// multiproc/sync/value.hpp: one value that threads and processes change together.
//
// A Value is a handle: copies name the same value, a forked child has it, and it may be sent to any process of this
// machine. get, set and with take the value's lock; a thread that holds it already, by get_lock(), calls them as well.
//
// Visibility  What was done to the value under its lock is visible to whoever has the lock next.
// Death       A process that is killed in set or with has done it or has not: the old value stands beside the new one
//             until the change is complete, and the next user puts it back. ref() and what is done under get_lock()
//             alone are not undone. That an owner died is told to the next one of get_lock().lock() and to nobody
//             after: get, set and with, which have nothing to repair, take the news and keep it to themselves.
// Fork        A child that is forked while a thread is in with() waits for it like everybody else. In a child forked by
//             F itself lock and change are still its parent's: when it leaves F, by return or exception, with() leaves
//             the value and the lock as they are. What it wrote through T& before is in the value, which is shared.
// Limits      T is aligned to a page at the most. A value of more than 256 bytes has memory and a descriptor of its
//             own, which go with its last handle. Smaller ones stand in memory that is only ever filled: their place,
//             and the lock of every value, stays taken until all processes that know it have ended.
// Cost        That of the Lock, and a copy of T for set and with. No T is put on the stack but by get(), which returns
//             one: a large T is read by with().
// Stands on   sync/lock.hpp.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

#include <multiproc/deadline.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/shm/segment.hpp>
#include <multiproc/sync/detail/operation.hpp>
#include <multiproc/sync/lock.hpp>

namespace multiproc {

namespace detail {

inline constexpr std::size_t kMostAligned = 4096;  // a page of any machine

// What stands in front of a value: 64 bytes. Value and its undo copy follow, each at the alignment of T.
struct ValueHead {
  static constexpr std::uint32_t kMagic = 0x76706d75;  // "umpv"

  os::RobustMutex mutex;
  std::uint32_t magic = kMagic;
  std::atomic<std::uint32_t> changing{0};  // 1: the undo copy is what counts
  std::uint64_t size = 0;                  // of T
  std::uint64_t alignment = 0;
};
static_assert(sizeof(ValueHead) == kCacheLine && std::atomic<std::uint32_t>::is_always_lock_free);

inline constexpr std::size_t kLargestValueInPlace = 256;

/// Where a value is: the head, the value behind it or, of a large one, in memory of its own. The head is always among
/// the small objects, which stay: a held lock is never unmapped.
struct ValuePlace {
  Place head;
  std::shared_ptr<Segment> own;  // of a large value
};

/// New memory for a value of `size` bytes and its undo copy, zeroed but for the head. SystemError.
ValuePlace make_value(std::size_t size, std::size_t alignment, bool is_large);
ValueHead* make_value_head(const Place& place, std::size_t size, std::size_t alignment);
/// DecodeError: there is no value of this size.
void require_value(const ValuePlace& place, std::size_t size, std::size_t alignment);
/// Goes on where try_lock() was neither clean nor `mine`.
void wait_for_value(os::RobustMutex& mutex, os::LockOutcome outcome);

// Functions that are known to take a copy. Of a generic lambda nobody knows.
template <class F>
struct FirstParameter {};
template <class R, class A>
struct FirstParameter<R (*)(A)> {
  using type = A;
};
template <class R, class A>
struct FirstParameter<R (*)(A) noexcept> {
  using type = A;
};
template <class C, class R, class A>
R (*without_class(R (C::*)(A)))
(A);
template <class C, class R, class A>
R (*without_class(R (C::*)(A) const))
(A);
template <class C, class R, class A>
R (*without_class(R (C::*)(A) noexcept))
(A);
template <class C, class R, class A>
R (*without_class(R (C::*)(A) const noexcept))
(A);
template <class F>
  requires requires { detail::without_class(&F::operator()); }
struct FirstParameter<F> : FirstParameter<decltype(detail::without_class(&F::operator()))> {};
template <class F>
concept TakesCopy = requires { typename FirstParameter<std::decay_t<F>>::type; } &&
                    !std::is_reference_v<typename FirstParameter<std::decay_t<F>>::type>;

}  // namespace detail

/// Example:
///
///     Value<int> hits;
///     Process worker{[](Value<int> mine) { mine.with([](int& n) { ++n; }); }, hits};
template <class T>
class Value {
  static_assert(!std::is_array_v<T>,
                "multiproc: Value<T>: a C array can't be returned or assigned; use Array<Element>, or a std::array");
  using Explained = decltype(detail::explain_shareable<T>());
  static_assert(Shareable<T>,
                "multiproc: Value<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)");
  static_assert(alignof(T) <= detail::kMostAligned, "multiproc: Value<T>: T is aligned to more than a page");
  static_assert(!std::is_const_v<T> && !std::is_volatile_v<T>, "multiproc: Value<T>: T is const or volatile");
  static_assert(!Shareable<T> || std::is_array_v<T> || std::is_const_v<T> ||
                    (std::is_copy_constructible_v<T> && std::is_copy_assignable_v<T>),
                "multiproc: Value<T>: T can't be assigned; has it a const member? Make that one non-const");

 public:
  using value_type = T;

  /// A new value, T(). SystemError: no memory, no descriptor.
  Value()
    requires std::is_default_constructible_v<T>
      : Value(detail::make_value(sizeof(T), alignof(T), kIsLarge)) {
    new (static_cast<void*>(value_)) T();
  }
  explicit Value(const T& initial) : Value(detail::make_value(sizeof(T), alignof(T), kIsLarge)) {
    new (static_cast<void*>(value_)) T(initial);
  }

  // No moves: a handle that was moved from would name nothing.
  Value(const Value&) = default;
  Value& operator=(const Value&) = default;

  T get() const {
    const Held held(*this);
    return *value_;
  }

  void set(const T& value) const {
    Change mine(*this, false);
    mine.value() = value;
    mine.commit();
  }

  /// F(T&) under the lock; a copy of what F returns. When F throws, the value is as before. F may call get, set and
  /// with again.
  template <class F>
  auto with(F&& change) const {
    using Result = std::invoke_result_t<F, T&>;
    static_assert(!std::is_void_v<Result> || !detail::TakesCopy<std::remove_cvref_t<F>>,
                  "multiproc: Value<T>::with: the function returns nothing and takes T by value, so that it changes a "
                  "copy; let it take T&, or const T& to look");
    Change mine(*this, !std::is_nothrow_invocable_v<F, T&>);
    if constexpr (std::is_void_v<Result>) {
      std::forward<F>(change)(mine.value());
      mine.commit();
    } else {
      auto result = std::forward<F>(change)(mine.value());
      mine.commit();
      return result;
    }
  }

  /// To hold it over several calls.
  Lock& get_lock() const noexcept { return lock_; }

  /// Without the lock: under get_lock(), or for std::atomic_ref. The address stays as long as there is a handle.
  T& ref() const noexcept {
    if (head_->changing.load(std::memory_order_relaxed) != 0 && lock_.is_mine() && !detail::is_under_way(head_)) {
      restore(*head_, *value_);  // what a dead owner had begun
    }
    return *value_;
  }

  /// Do both name the same value?
  friend bool operator==(const Value& a, const Value& b) noexcept { return a.head_ == b.head_; }

 private:
  friend struct Travel<Value>;

  static constexpr bool kIsLarge = sizeof(T) > detail::kLargestValueInPlace || alignof(T) > kCacheLine;

  explicit Value(detail::ValuePlace place)
      : place_(std::move(place)),
        head_(reinterpret_cast<detail::ValueHead*>(place_.head.address())),
        value_(
            reinterpret_cast<T*>(kIsLarge ? place_.own->begin() : place_.head.address() + sizeof(detail::ValueHead))),
        lock_(lock_at(place_.head)) {}

  static Lock lock_at(const detail::Place& place) {
    detail::KnownPlace known{place};
    return Travel<Lock>::decode(known);
  }
  static Value at(detail::ValuePlace place) {
    detail::require_value(place, sizeof(T), alignof(T));
    return Value(std::move(place));
  }

  // Stores stay in program order: what is killed between two has done the first of them. The undo copy is the one
  // behind the value.
  static void restore(detail::ValueHead& head, T& value) noexcept {
    value = *(std::addressof(value) + 1);
    head.changing.store(0, std::memory_order_release);
  }

  // The lock for one call, and the value as its last complete change left it. It stands on its own: F may make the
  // handle name another value.
  struct Held {
    explicit Held(const Value& of) : own(of.place_.own), head(*of.head_), value(*of.value_) {
      const os::LockOutcome outcome = head.mutex.try_lock();
      if (outcome == os::LockOutcome::mine)
        is_to_be_released = false;
      else if (outcome != os::LockOutcome::clean) [[unlikely]]
        detail::wait_for_value(head.mutex, outcome);
      if (head.changing.load(std::memory_order_relaxed) != 0) [[unlikely]] {
        is_nested = !is_to_be_released && detail::is_under_way(&head);
        if (!is_nested) restore(head, value);
      }
    }
    ~Held() {
      if (is_to_be_released) (void)head.mutex.unlock();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    std::shared_ptr<detail::Segment> own;
    detail::ValueHead& head;
    T& value;
    bool is_to_be_released = true;
    bool is_nested = false;  // within a change of our own
  };

  // The outermost of a thread keeps the old value in shared memory, those within it on the heap, for them to undo.
  class Change {
   public:
    Change(const Value& value, bool may_throw) : held_(value), under_way_(&held_.head) {
      if (held_.is_nested) {
        if (may_throw) before_.reset(new T(held_.value));
        return;
      }
      *(std::addressof(held_.value) + 1) = held_.value;
      std::atomic_signal_fence(std::memory_order_seq_cst);
      held_.head.changing.store(1, std::memory_order_release);
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    T& value() const noexcept { return held_.value; }
    void commit() noexcept { is_done_ = true; }
    ~Change() {
      if (!detail::is_under_way(&held_.head) || !held_.head.mutex.is_mine()) [[unlikely]] {
        held_.is_to_be_released = false;  // a child that was forked in F: it is all the parent's
      } else if (held_.is_nested) {
        if (!is_done_ && before_) held_.value = *before_;
      } else if (is_done_) {
        held_.head.changing.store(0, std::memory_order_release);
      } else {
        restore(held_.head, held_.value);
      }
    }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    Held held_;
    bool is_done_ = false;
    std::unique_ptr<T> before_;
    detail::UnderWay under_way_;
  };

  detail::ValuePlace place_;
  detail::ValueHead* head_;
  T* value_;
  mutable Lock lock_;
};

template <class T>
struct Travel<Value<T>> {
  template <class Encoder>
  static void encode(Encoder& to, const Value<T>& value) {
    detail::send_place(to, value.place_.head);
    if constexpr (Value<T>::kIsLarge) to.attach(value.place_.own->descriptor());
  }
  template <class Decoder>
  static Value<T> decode(Decoder& from) {
    detail::ValuePlace place{detail::receive_place(from), nullptr};
    if constexpr (Value<T>::kIsLarge) place.own = detail::Segment::adopt(from.take_fd());
    return Value<T>::at(std::move(place));
  }
};

}  // namespace multiproc
