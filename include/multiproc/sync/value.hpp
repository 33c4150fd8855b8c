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
//             alone are not undone.
// Fork        A child that is forked while a thread is in with() waits for it like everybody else. A child forked by F
//             itself must not return from F.
// Limits      T is aligned to a page at the most. A value of more than some KiB has a descriptor of its own; held locks
//             must not lose their last handle then.
// Cost        That of the Lock, and a copy of T for set and with.
// Stands on   sync/lock.hpp.
#pragma once

#include <algorithm>
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

/// A place of that size for a value, zeroed: among the small objects, or a segment of its own.
Place take_value_place(std::size_t size, std::size_t alignment);
ValueHead* make_value_head(const Place& place, std::size_t size, std::size_t alignment);
/// DecodeError: there is no value of this size at `place`.
ValueHead* value_head_at(const Place& place, std::size_t total, std::size_t size, std::size_t alignment);
/// Goes on where try_lock() was neither clean nor `mine`.
void wait_for_value(os::RobustMutex& mutex, os::LockOutcome outcome);

}  // namespace detail

/// Example:
///
///     Value<int> hits;
///     Process worker{[](Value<int> mine) { mine.with([](int& n) { ++n; }); }, hits};
template <class T>
class Value {
  static_assert(Shareable<T>,
                "multiproc: Value<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)");
  static_assert(alignof(T) <= detail::kMostAligned, "multiproc: Value<T>: T is aligned to more than a page");
  static_assert(!std::is_const_v<T> && !std::is_volatile_v<T>, "multiproc: Value<T>: T is const or volatile");

 public:
  using value_type = T;

  /// A new value. SystemError: no memory, no descriptor.
  explicit Value(T initial = {}) : Value(detail::take_value_place(kTotal, kAlignment), initial) {}

  // No moves: a handle that was moved from would name nothing.
  Value(const Value&) = default;
  Value& operator=(const Value&) = default;

  T get() const {
    const Held held(*head_, *value_, undo());
    return *value_;
  }

  void set(const T& value) const {
    const T copy = value;  // may be ref() itself
    with([&](T& here) { here = copy; });
  }

  /// F(T&) under the lock; a copy of what F returns. When F throws, the value is as before. F may call get, set and
  /// with again.
  template <class F>
  auto with(F&& change) const {
    const Held held(*head_, *value_, undo());
    Change mine(*this, held.is_nested);
    if constexpr (std::is_void_v<std::invoke_result_t<F, T&>>) {
      std::forward<F>(change)(*value_);
      mine.commit();
    } else {
      auto result = std::forward<F>(change)(*value_);
      mine.commit();
      return result;
    }
  }

  /// To hold it over several calls.
  Lock& get_lock() const noexcept { return lock_; }

  /// Without the lock: under get_lock(), or for std::atomic_ref. The address stays as long as there is a handle.
  T& ref() const noexcept {
    if (head_->changing.load(std::memory_order_relaxed) != 0 && lock_.is_mine() && !detail::is_under_way(head_)) {
      restore(*head_, *value_, *undo());  // what a dead owner had begun
    }
    return *value_;
  }

  /// Do both name the same value?
  friend bool operator==(const Value& a, const Value& b) noexcept { return a.head_ == b.head_; }

 private:
  friend struct Travel<Value>;

  static constexpr std::size_t kAlignment = std::max(alignof(T), kCacheLine);
  static constexpr std::size_t kValueAt = std::max(sizeof(detail::ValueHead), alignof(T));
  static constexpr std::size_t kUndoAt = kValueAt + (sizeof(T) + alignof(T) - 1) / alignof(T) * alignof(T);
  static constexpr std::size_t kTotal = kUndoAt + sizeof(T);

  Value(detail::Place place, const T& initial) : Value(std::move(place)) {
    head_ = detail::make_value_head(place_, sizeof(T), alignof(T));
    new (static_cast<void*>(value_)) T(initial);
    new (static_cast<void*>(undo())) T(initial);
  }
  explicit Value(detail::Place place)
      : place_(std::move(place)),
        head_(reinterpret_cast<detail::ValueHead*>(place_.address())),
        value_(std::launder(reinterpret_cast<T*>(place_.address() + kValueAt))),
        lock_(lock_at(place_)) {}

  static Lock lock_at(const detail::Place& place) {
    detail::KnownPlace known{place};
    return Travel<Lock>::decode(known);
  }
  static Value at(detail::Place place) {
    (void)detail::value_head_at(place, kTotal, sizeof(T), alignof(T));
    return Value(std::move(place));
  }

  T* undo() const noexcept { return std::launder(reinterpret_cast<T*>(place_.address() + kUndoAt)); }

  // The lock for one call, and the value as its last complete change left it.
  struct Held {
    Held(detail::ValueHead& at, T& value, const T* undo) : head(at) {
      const os::LockOutcome outcome = head.mutex.try_lock();
      if (outcome == os::LockOutcome::mine)
        is_mine_already = true;
      else if (outcome != os::LockOutcome::clean) [[unlikely]]
        detail::wait_for_value(head.mutex, outcome);
      if (head.changing.load(std::memory_order_relaxed) != 0) [[unlikely]] {
        is_nested = is_mine_already && detail::is_under_way(&head);
        if (!is_nested) restore(head, value, *undo);
      }
    }
    ~Held() {
      if (!is_mine_already) (void)head.mutex.unlock();
    }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;

    detail::ValueHead& head;
    bool is_mine_already = false;
    bool is_nested = false;  // within a change of our own
  };

  // Stores stay in program order: what is killed between two has done the first of them.
  static void restore(detail::ValueHead& head, T& value, const T& undo) noexcept {
    value = undo;
    head.changing.store(0, std::memory_order_release);
  }

  // The innermost of a thread keeps its old value on the stack, the outermost in shared memory.
  class Change {
   public:
    Change(const Value& value, bool is_nested) : value_(value), is_nested_(is_nested), under_way_(value.head_) {
      if (is_nested_) {
        std::construct_at(&before, *value_.value_);
        return;
      }
      *value_.undo() = *value_.value_;
      std::atomic_signal_fence(std::memory_order_seq_cst);
      value_.head_->changing.store(1, std::memory_order_release);
      std::atomic_signal_fence(std::memory_order_seq_cst);
    }
    void commit() noexcept {
      is_done_ = true;
      if (!is_nested_) value_.head_->changing.store(0, std::memory_order_release);
    }
    ~Change() {
      if (is_done_) return;
      if (is_nested_)
        *value_.value_ = before;
      else
        restore(*value_.head_, *value_.value_, *value_.undo());
    }
    Change(const Change&) = delete;
    Change& operator=(const Change&) = delete;

   private:
    const Value& value_;
    bool is_nested_;
    bool is_done_ = false;
    union {
      T before;
    };
    detail::UnderWay under_way_;
  };

  detail::Place place_;
  detail::ValueHead* head_;
  T* value_;
  mutable Lock lock_;
};

template <class T>
struct Travel<Value<T>> {
  template <class Encoder>
  static void encode(Encoder& to, const Value<T>& value) {
    detail::send_place(to, value.place_);
  }
  template <class Decoder>
  static Value<T> decode(Decoder& from) {
    return Value<T>::at(detail::receive_place(from));
  }
};

}  // namespace multiproc
