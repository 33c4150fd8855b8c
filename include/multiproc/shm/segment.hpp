// SPDX-License-Identifier: MIT
//
// multiproc/shm/segment.hpp: one mapping that several processes share, and the places in it where small objects stand.
//
// A Segment is an unnamed, sealed memfd, mapped: its space is reserved at birth, so that a lack of memory is an error
// here and no SIGBUS later. Handles of any kind hold it by shared_ptr; in a forked child they are copies that work, to
// another process it goes as its descriptor (send_place). Within a process there is one mapping of each segment,
// so that what arrives a second time is the same object at the same address.
//
// Small objects stand side by side in segments that are only ever filled, never reused: an object that is let go leaves
// its place behind, and no lifetime has to be counted across processes. So a lock costs a cache line or two, and a
// program has one descriptor for a thousand of them or more. Such a segment stays mapped until the process ends, or, if
// another process made it, long after the last handle is gone: a lock that was unmapped while it is held could not be
// handed on (pthread_mutexattr_setrobust(3)).
//
// Death       The kernel keeps a segment as long as anybody maps it or holds its descriptor, and frees it then. A
//             process that is killed while it takes a place leaves a hole.
// Refusals    Where the kernel has no memfd to give (a seccomp filter), an anonymous shared mapping serves forked
//             children, and descriptor() throws.
// Stands on   os/memory.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <utility>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/shm/layout.hpp>

namespace multiproc::detail {

class Segment {
 public:
  /// `size` bytes, zeroed. SystemError: no memory (ENOMEM, ENOSPC) or no descriptor (EMFILE). `label` is what /proc
  /// shows.
  static std::shared_ptr<Segment> make(std::size_t size, const char* label);

  /// The same, but none of it is reserved: see reserve(). As large as the limits of this process allow (RLIMIT_FSIZE,
  /// RLIMIT_AS), between `least` and `most` bytes.
  static std::shared_ptr<Segment> make_sparse(std::size_t least, std::size_t most, const char* label);

  /// The segment that `memory` leads to: the one that this process has mapped already, or a new mapping of all of it.
  static std::shared_ptr<Segment> adopt(os::Fd memory);

  Segment(os::Fd memory, os::Mapping mapping) noexcept : memory_(std::move(memory)), mapping_(std::move(mapping)) {}
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;
  ~Segment();

  std::byte* begin() const noexcept { return mapping_.bytes().data(); }
  std::size_t size() const noexcept { return mapping_.bytes().size(); }
  std::span<std::byte> bytes() const noexcept { return mapping_.bytes(); }

  /// Makes sure that these bytes of a sparse segment can be touched. SystemError, with the room that is left: no
  /// memory. Without a memfd the kernel's own accounting has to do.
  void reserve(std::size_t offset, std::size_t size) const;

  /// Its descriptor, which belongs to it; -1: it has none (see Refusals).
  int fd() const noexcept { return memory_.get(); }

  /// Another descriptor of it, close-on-exec, to be sent. Throws Unsupported where it has none.
  os::Fd descriptor() const;

 private:
  os::Fd memory_;
  os::Mapping mapping_;
};

/// A place in a segment. Copies name the same place.
struct Place {
  std::shared_ptr<Segment> segment;
  std::size_t offset = 0;

  std::byte* address() const noexcept { return segment->begin() + offset; }
};

/// `size` bytes, zeroed and at the start of a cache line, among other small objects. `size` at most kLargestSmall.
Place take_place(std::size_t size);
inline constexpr std::size_t kLargestSmall = std::size_t{16} << 10;

/// A T that several processes see, made once and never destroyed: T is trivially destructible, and lies there as it is.
template <class T>
class Shared {
 public:
  /// Makes it, T(args...), in memory that is zeroed.
  template <class... Args>
  static Shared make(Args&&... args) {
    static_assert(std::is_trivially_destructible_v<T> && alignof(T) <= kCacheLine && sizeof(T) <= kLargestSmall);
    Shared shared(take_place(sizeof(T)));
    new (shared.place_.address()) T(std::forward<Args>(args)...);
    return shared;
  }

  /// One that another process made. DecodeError: there is no room for a T at that place.
  static Shared at(Place place);

  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }
  T* get() const noexcept { return object_; }
  const Place& place() const noexcept { return place_; }

 private:
  explicit Shared(Place place) noexcept
      : place_(std::move(place)), object_(std::launder(reinterpret_cast<T*>(place_.address()))) {}

  Place place_;
  T* object_;
};

/// The pid namespace of this process; owners of locks are known by their thread ids, which mean others elsewhere. The
/// second throws DecodeError when `home`, noted by the maker of what was received, is another.
std::uint64_t pid_home() noexcept;
void require_pid_home(std::uint64_t home);

/// Throws DecodeError unless `size` bytes with this alignment fit at `place`.
void require_room(const Place& place, std::size_t size, std::size_t alignment);

template <class T>
Shared<T> Shared<T>::at(Place place) {
  require_room(place, sizeof(T), alignof(T));
  return Shared(std::move(place));
}

/// How handles travel: the segment's descriptor and the offset. Base of their Travel specialisations, which name the
/// type. Templates, for the floors above know what an Encoder is.
template <class Encoder>
void send_place(Encoder& to, const Place& place) {
  to.attach(place.segment->descriptor());
  to(static_cast<std::uint64_t>(place.offset));
}
template <class Decoder>
Place receive_place(Decoder& from) {
  Place place;
  place.segment = Segment::adopt(from.take_fd());
  place.offset = static_cast<std::size_t>(from.template read<std::uint64_t>());
  return place;
}

}  // namespace multiproc::detail
