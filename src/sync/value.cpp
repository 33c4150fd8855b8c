// SPDX-License-Identifier: MIT

#include <multiproc/sync/value.hpp>

#include <new>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>

#include "sync/own_segment.hpp"

namespace multiproc::detail {

Place take_value_place(std::size_t size, std::size_t alignment) {
  if (size <= kLargestSmall && alignment <= kCacheLine) return take_place(size);
  return {make_own_segment(size, "multiproc value"), 0};
}

ValueHead* make_value_head(const Place& place, std::size_t size, std::size_t alignment) {
  auto* const head = new (place.address()) ValueHead;
  (void)head->mutex.init().or_throw("the lock of a new value");
  head->size = size;
  head->alignment = alignment;
  return head;
}

ValueHead* value_head_at(const Place& place, std::size_t total, std::size_t size, std::size_t alignment) {
  require_room(place, total, alignment > kCacheLine ? alignment : kCacheLine);
  auto* const head = std::launder(reinterpret_cast<ValueHead*>(place.address()));
  if (head->magic != ValueHead::kMagic || head->size != size || head->alignment != alignment) {
    throw DecodeError("a Value was received that holds another type, or none");
  }
  return head;
}

void wait_for_value(os::RobustMutex& mutex, os::LockOutcome outcome) {
  (void)finish_lock(mutex, outcome, Deadline::never(), "the lock of a shared object");
}

}  // namespace multiproc::detail
