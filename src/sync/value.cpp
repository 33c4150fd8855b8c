// SPDX-License-Identifier: MIT

#include <multiproc/sync/value.hpp>

#include <new>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>

#include "sync/own_segment.hpp"

namespace multiproc::detail {

ValuePlace make_value(std::size_t size, std::size_t alignment, bool is_large) {
  const std::string object = "a Value of " + std::to_string(size) + " bytes";
  ValuePlace place;
  if (is_large) place.own = make_own_segment(2 * size, "multiproc value", object);
  place.head = with_remedy(object, [&] { return take_place(sizeof(ValueHead) + (is_large ? 0 : 2 * size)); });
  (void)make_value_head(place.head, size, alignment);
  return place;
}

ValueHead* make_value_head(const Place& place, std::size_t size, std::size_t alignment) {
  auto* const head = new (place.address()) ValueHead;
  (void)head->mutex.init().or_throw("the lock of a new value");
  head->size = size;
  head->alignment = alignment;
  return head;
}

void require_value(const ValuePlace& place, std::size_t size, std::size_t alignment) {
  require_room(place.head, sizeof(ValueHead) + (place.own ? 0 : 2 * size), kCacheLine);
  const auto& head = *std::launder(reinterpret_cast<const ValueHead*>(place.head.address()));
  if (head.magic != ValueHead::kMagic || head.size != size || head.alignment != alignment ||
      (place.own && place.own->size() != 2 * size)) {
    throw DecodeError("a Value was received that holds another type, or none");
  }
}

void wait_for_value(os::RobustMutex& mutex, os::LockOutcome outcome) {
  (void)finish_lock(mutex, outcome, Deadline::never(), "the lock of a shared object");
}

}  // namespace multiproc::detail
