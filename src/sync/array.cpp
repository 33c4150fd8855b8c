// SPDX-License-Identifier: MIT

#include <multiproc/sync/array.hpp>

#include <cerrno>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>

#include "sync/own_segment.hpp"

namespace multiproc::detail {

Place make_array(std::size_t count, std::size_t element_size, std::size_t elements_at) {
  if (count > (std::numeric_limits<std::size_t>::max() - elements_at) / element_size) {
    os::throw_failure(
        {"new shared memory", ENOMEM},
        "an array of " + std::to_string(count) + " elements of " + std::to_string(element_size) + " bytes",
        memory_remedy(ENOMEM));
  }
  const std::size_t total = elements_at + count * element_size;
  Place place{make_own_segment(total, "multiproc array"), 0};
  auto* const head =
      new (place.address()) ArrayHead{{ArrayHead::kMagic, ArrayHead::kVersion, 0, total}, {}, count, element_size};
  (void)head->mutex.init().or_throw("the lock of a new array");
  return place;
}

void require_array(const Place& place, std::size_t element_size, std::size_t elements_at) {
  require_room(place, elements_at, kCacheLine);
  const auto& head = *reinterpret_cast<const ArrayHead*>(place.address());
  const std::uint64_t room = place.segment->size() - elements_at;
  const LayoutStamp expected{ArrayHead::kMagic, ArrayHead::kVersion, 0, place.segment->size()};
  if (place.offset != 0 || head.stamp != expected || head.element_size != element_size ||
      head.count > room / element_size) {
    throw DecodeError("an Array was received that holds elements of another type, or is none");
  }
}

void throw_out_of_range(const char* name, std::size_t index, std::size_t size) {
  throw std::out_of_range(std::string(name) + ": there is no element " + std::to_string(index) + " among " +
                          std::to_string(size));
}

}  // namespace multiproc::detail
