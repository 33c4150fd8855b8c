// SPDX-License-Identifier: MIT
//
// tests/sync/own_memory.hpp: an object of the sync floor in memory of its own, that is gone with its last handle. For
// tests that make thousands of them: the memory that they usually share is only ever filled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <utility>

#include <multiproc/os/fd.hpp>
#include <multiproc/shm/segment.hpp>

namespace sync_test {

using multiproc::detail::Place;
using multiproc::detail::Segment;

/// Fresh memory, zeroed.
inline Place own_memory(std::size_t size = 4096) {
  return {Segment::make(size, "multiproc test"), 0};
}

/// As far as a handle decodes itself.
struct PlaceReader {
  const Place& place;

  multiproc::os::Fd take_fd() const { return place.segment->descriptor(); }
  template <class T>
  T read() const {
    return static_cast<T>(place.offset);
  }
};

/// The handle of the object that stands at `place`.
template <class Handle>
Handle handle_at(const Place& place) {
  PlaceReader reader{place};
  return multiproc::Travel<Handle>::decode(reader);
}

/// The second half of own_memory() as a T, for what the test wants to know.
template <class T>
T& notes_in(const Place& place) {
  static_assert(sizeof(T) <= 2048);
  return *std::launder(reinterpret_cast<T*>(place.segment->begin() + 2048));
}
template <class T>
void make_notes(const Place& place) {
  new (place.segment->begin() + 2048) T{};
}

}  // namespace sync_test
