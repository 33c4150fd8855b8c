// SPDX-License-Identifier: MIT
//
// multiproc/sync/detail/operation.hpp: which half-done changes of shared memory are the calling thread's own.
//
// A mark in shared memory says "a change is on its way". Whoever holds the lock and finds it set has to know whether
// the change is its own, further up on the stack, or that of an owner who died: the stack's list tells.
#pragma once

#include <multiproc/shm/segment.hpp>

namespace multiproc::detail {

struct OperationUnderWay {
  const void* what;
  const OperationUnderWay* outer;
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
  explicit UnderWay(const void* what) noexcept : entry_{what, innermost_operation} { innermost_operation = &entry_; }
  ~UnderWay() { innermost_operation = entry_.outer; }
  /// Whether it is part of a change of the same thing.
  bool is_nested_in_same() const noexcept {
    for (const auto* each = entry_.outer; each != nullptr; each = each->outer) {
      if (each->what == entry_.what) return true;
    }
    return false;
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
