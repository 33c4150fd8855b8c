// SPDX-License-Identifier: MIT
//
// multiproc/sync/detail/operation.hpp: which half-done changes of shared memory are the calling thread's own.
//
// A mark in shared memory says "a change is on its way". Whoever holds the lock and finds it set has to know whether
// the change is its own, further up on the stack, or that of an owner who died: the stack's list tells.
#pragma once

#include <multiproc/shm/segment.hpp>

namespace multiproc::detail {

class Operation;

struct OperationUnderWay {
  const void* what;
  const OperationUnderWay* outer;
  Operation* operation = nullptr;  // where it is one of a growing container
};

/// The innermost of the calling thread. Empty in a forked child, which owns none of its parent's locks.
extern constinit thread_local const OperationUnderWay* innermost_operation;

/// Whether the calling thread is within a change of `what`.
inline bool is_under_way(const void* what) noexcept {
  for (const auto* each = innermost_operation; each != nullptr; each = each->outer) {
    if (each->what == what) return true;
  }
  return false;
}

/// On the stack, for as long as the change takes.
class UnderWay {
 public:
  explicit UnderWay(const void* what, Operation* operation = nullptr) noexcept
      : entry_{what, innermost_operation, operation} {
    innermost_operation = &entry_;
  }
  ~UnderWay() {
    if (is_ours()) innermost_operation = entry_.outer;
  }
  /// False in a child that was forked meanwhile: the change, and its lock, are the parent's.
  bool is_ours() const noexcept { return innermost_operation == &entry_; }
  /// The first of the changes of the same thing that it is a part of, if there is one.
  const OperationUnderWay* outermost_of_same() const noexcept {
    const OperationUnderWay* found = nullptr;
    for (const auto* each = entry_.outer; each != nullptr; each = each->outer) {
      if (each->what == entry_.what) found = each;
    }
    return found;
  }
  UnderWay(const UnderWay&) = delete;
  UnderWay& operator=(const UnderWay&) = delete;

 private:
  OperationUnderWay entry_;
};

/// A decoder of handles whose place is known already, in this process: Travel<Lock>::decode(known).
struct KnownPlace {
  Place place;
};
template <>
inline Place receive_place<KnownPlace>(KnownPlace& from) {
  return from.place;
}

}  // namespace multiproc::detail
