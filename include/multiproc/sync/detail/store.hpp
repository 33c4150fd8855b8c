// SPDX-License-Identifier: MIT
//
// multiproc/sync/detail/store.hpp: what the growing containers stand on: a segment with a lock, a journal and a heap.
//
//     0       StoreHead: stamp, lock, journal and heap, the container's own words
//     4096    the journal's room, 1 MiB and a bit; its memory is reserved as it is needed
//     then    the heap's blocks, max_bytes of them
//
// A container's call is an Operation: it has the lock, finds the last complete state, and is undone unless it commits.
// Within another Operation of the same thread it is a step of that one. The journal tells how to undo the whole, and
// has each byte once at the most; how to undo a step alone is remembered in the memory of the process.
//
// What arrives is looked at without the lock, as far as it never changes. The rest is looked at by each call.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include <multiproc/shm/heap.hpp>
#include <multiproc/shm/layout.hpp>
#include <multiproc/shm/segment.hpp>
#include <multiproc/sync/detail/operation.hpp>
#include <multiproc/sync/rlock.hpp>

namespace multiproc::detail {

struct StoreHead {
  static constexpr std::uint64_t kMagic = 0x726f7473'61706d75;  // "umpastor"
  static constexpr std::uint32_t kVersion = 3;

  LayoutStamp stamp;
  std::uint64_t kind = 0;                   // which container
  std::array<std::uint64_t, 2> elements{};  // the sizes of what it holds
  std::uint64_t pid_namespace = 0;          // of its maker: the owner of the lock is known by its thread id
  RLockState lock;
  HeapHead heap;
  std::array<std::uint64_t, 8> root{};  // the container's own
};
inline constexpr std::size_t kJournalAt = 4096;
inline constexpr std::size_t kJournalRoom = std::size_t{1} << 20;
static_assert(sizeof(StoreHead) <= kJournalAt);

/// What a container is made of, the same in every process that has it. One for each type, which stays.
struct StoreKind {
  std::uint64_t kind = 0;
  std::array<std::uint64_t, 2> elements{};
  std::size_t alignment = 16;
  std::size_t journal = 0;                       // bytes
  bool (*is_sound)(const StoreHead&) = nullptr;  // of the container's own words
};

class Store {
 public:
  /// 0 of `most`: 1 GiB, or less where this process's limits are lower. Unsupported: more than any machine has.
  Store(const StoreKind& kind, std::size_t most);
  /// DecodeError: there is no such container. Takes no lock.
  Store(const StoreKind& kind, const Place& place);
  Store(const Store&) = default;
  Store& operator=(const Store&) = default;

  StoreHead& head() const noexcept { return *head_; }
  Heap heap() const noexcept { return Heap(*segment_, head_->heap); }
  std::byte* base() const noexcept { return segment_->begin(); }
  /// Whether this lies in the container itself, as mapped here.
  bool contains(const void* bytes) const noexcept {
    return std::greater_equal<>{}(bytes, static_cast<const void*>(base())) &&
           std::less<>{}(bytes, static_cast<const void*>(base() + segment_->size()));
  }
  RLock& lock() const noexcept { return lock_; }
  Place place() const noexcept { return {segment_, 0}; }

  /// Of what changes, to whoever holds the lock and finds an empty journal.
  bool is_sound() const noexcept { return Heap::is_sound(head_->heap) && kind_->is_sound(*head_); }

  /// For those who hold the lock from get_lock() and look without an Operation: undoes what a dead owner had begun.
  void settle() const noexcept {
    if (head_->heap.journal.used() != 0) [[unlikely]]
      undo_what_the_dead_began();
  }

 private:
  void undo_what_the_dead_began() const noexcept;

  const StoreKind* kind_;
  std::shared_ptr<Segment> segment_;
  StoreHead* head_;
  mutable RLock lock_;
};

/// In a child that is forked meanwhile it does nothing more, for lock and change are the parent's. The Store has to
/// stay as it is meanwhile: see change_by_caller().
class Operation {
 public:
  /// InvalidState: the container is corrupt.
  explicit Operation(const Store& store) : store_(&store), heap_(store.heap()), under_way_(&store.head(), this) {
    (void)store.lock().lock();
    const OperationUnderWay* const outermost = under_way_.outermost_of_same();
    const bool is_as_left = outermost == nullptr && heap_.journal().used() == 0 && !heap_.has_given();
    if (!is_as_left || !store.is_sound()) [[unlikely]]
      begin(outermost);
  }
  ~Operation() {
    if (!under_way_.is_ours()) return;
    if (!is_done_) undo();
    if (is_nested_) --kept_->depth;
    store_->lock().unlock();
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  void commit() noexcept {
    is_done_ = true;
    if (!under_way_.is_ours()) return;
    if (!is_nested_)
      heap_.journal().commit();
    else if (level_ == 1)
      kept_->forget();
  }

  const Heap& heap() const noexcept { return heap_; }
  bool is_nested() const noexcept { return is_nested_; }
  void set(std::uint64_t& word, std::uint64_t value) const { heap_.set(word, value); }

  /// The caller is given a reference to what stands at this offset, until the operation ends.
  void lend(std::uint64_t offset) noexcept { lent_ = offset; }
  /// Whether an operation that this one is a step of has lent anything, or what stands at `offset`.
  bool is_lent() const noexcept { return is_lent(0); }
  bool is_lent(std::uint64_t offset) const noexcept;

  /// Bytes that do not count when the whole begins, and need not be kept. Called before the first step changes them.
  template <class Where>
  void know_spare(Where&& where) const {
    if (!is_nested_ || kept_->knows_spare) return;
    const auto [offset, size] = where();
    kept_->add(offset, size);
    kept_->knows_spare = true;
  }

 private:
  void begin(const OperationUnderWay* outermost);
  void undo() noexcept;

  const Store* store_;
  Heap heap_;
  UnderWay under_way_;
  std::unique_ptr<Kept> owned_;  // the outermost's, made by the first of its steps
  Kept* kept_ = nullptr;
  std::size_t mark_ = 0;
  unsigned level_ = 0;  // of the steps; the first one's end can only be undone with the whole
  std::uint64_t lent_ = 0;
  bool is_nested_ = false;
  bool is_done_ = false;
};

/// Does `steps(operation)` as one change; what it returns.
template <class Steps>
auto change(const Store& store, Steps&& steps) {
  Operation call(store);
  if constexpr (std::is_void_v<std::invoke_result_t<Steps, Operation&>>) {
    std::forward<Steps>(steps)(call);
    call.commit();
  } else {
    auto result = std::forward<Steps>(steps)(call);
    call.commit();
    return result;
  }
}

/// The same where the steps call what the caller gave: the handle may come to name another container meanwhile, or be
/// destroyed.
template <class Steps>
auto change_by_caller(const Store& store, Steps&& steps) {
  const Store kept = store;
  return change(kept, std::forward<Steps>(steps));
}

/// SystemError: `asked` of `container` are more than any machine has.
[[noreturn]] void throw_too_many(const char* container, std::size_t asked);

/// A growing run of bytes: three of a container's words, counted in bytes.
struct Buffer {
  std::uint64_t data = 0;
  std::uint64_t size = 0;
  std::uint64_t capacity = 0;

  /// Whether they make sense in a segment of that size, for elements of so many bytes.
  bool is_plausible(std::uint64_t segment, std::uint64_t each) const noexcept {
    return data <= segment && capacity <= segment - data && size <= capacity && size % each == 0 &&
           (data >= kJournalAt || capacity == 0);
  }

  /// SystemError: no memory, or no room below max_bytes.
  void reserve(const Operation& operation, std::size_t bytes);

  /// Replaces `removed` bytes at `at` by `inserted` new ones, which the caller fills in before it commits.
  /// InvalidState: within an operation that has lent an element.
  std::byte* splice(const Operation& operation, std::size_t at, std::size_t removed, std::size_t inserted);

 private:
  void begin_step(const Operation& operation) const;
  void move_to_block(const Operation& operation, std::size_t bytes);
  void grow(const Operation& operation, std::size_t bytes);
  void grow_generously(const Operation& operation, std::size_t bytes);
  std::byte* splice_into_block(const Operation& operation, std::size_t at, std::size_t removed, std::size_t inserted);
};
static_assert(sizeof(Buffer) == 24);

}  // namespace multiproc::detail
