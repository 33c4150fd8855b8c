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
  const std::string object =
      "an Array of " + std::to_string(count) + " elements of " + std::to_string(element_size) + " bytes";
  if (count > (std::numeric_limits<std::size_t>::max() - elements_at) / element_size) {
    const bool is_negative = count > std::numeric_limits<std::size_t>::max() / 2;
    os::throw_failure({"new shared memory", ENOMEM}, object,
                      memory_remedy(ENOMEM) + (is_negative ? " (was it a negative number?)" : ""));
  }
  const std::size_t total = elements_at + count * element_size;
  Place place{make_own_segment(total, "multiproc array", object), 0};
  new (place.address()) ArrayHead{{ArrayHead::kMagic, ArrayHead::kVersion, 0, total}, count, element_size};
  return place;
}

std::size_t count_of_array(const Place& place, std::size_t element_size, std::size_t elements_at) {
  require_room(place, elements_at, kCacheLine);
  const auto& head = *reinterpret_cast<const ArrayHead*>(place.address());
  const std::uint64_t room = place.segment->size() - elements_at;
  const LayoutStamp expected{ArrayHead::kMagic, ArrayHead::kVersion, 0, place.segment->size()};
  const std::uint64_t count = head.count;  // looked at once: others may write there
  if (place.offset != 0 || head.stamp != expected || head.element_size != element_size || count > room / element_size) {
    throw DecodeError("an Array was received that holds elements of another type, or is none");
  }
  return static_cast<std::size_t>(count);
}

void throw_out_of_range(const char* name, std::size_t index, std::size_t size) {
  throw std::out_of_range(std::string(name) + ": there is no element " + std::to_string(index) + " among " +
                          std::to_string(size));
}

}  // namespace multiproc::detail
