// SPDX-License-Identifier: MIT
//
// multiproc/shm/shared_memory.hpp: SharedMemory, bytes that several processes see.
//
//     auto frame = mp::SharedMemory::anonymous(1920 * 1080 * 4);   // for the children, and whom it is sent to
//     auto table = mp::SharedMemory::create("prices", 4096);       // for whoever knows the name
//     auto same = mp::SharedMemory::open("prices");                // elsewhere; in Python: SharedMemory("prices")
//
// Anonymous memory has nothing to clean up: it goes with the last process that has it, however that one ends. Its size
// is sealed, and the size of /dev/shm does not matter to it.
//
// Named memory is the same object as CPython's multiprocessing.shared_memory: "prices" is /dev/shm/prices, for this
// user alone. It stays until somebody calls unlink(), in either language; the end of a process that has it, creator or
// not, takes nothing away. A leading slash of a name counts for nothing.
// (A Python process unlinks what it has attached to when it ends, unless told not to: SharedMemory(name, track=False),
// and before 3.13 resource_tracker.unregister(shm._name, "shared_memory").)
//
// Space       All of it is reserved when the memory is made, 8 GiB as well as 8 bytes, so that a lack of it is an error
//             there and no SIGBUS later; but for sparse(), which takes memory as it is touched or reserved. open()
//             reserves what its maker did not: CPython only gives a block its size. The bytes are zero, and begin at
//             the start of a page. A mapping lies at another address in each process.
// Fork, send  A forked child has a copy of the handle. To other processes it is sent as descriptor and size: the name
//             goes along as a word, and the memory arrives even when the name is gone.
// Threads     One handle is for one thread at a time, like a std::string; the bytes are for all, with such order as
//             their users keep: a Lock, atomics.
// Death       A creator that is killed inside create() leaves nothing, or a name whose memory has 0 bytes: open() of it
//             throws InvalidState, and unlink(name) clears it away. All else is whole.
// Limits      Named memory can't be sealed: when a process of this user shrinks the file in /dev/shm, the others die of
//             SIGBUS as they touch what is gone.
// Stands on   segment.hpp, os/named_memory.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include <multiproc/os/fd.hpp>
#include <multiproc/shm/detail/hooks.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc {

class SharedMemory {
 public:
  /// `size` bytes (> 0) without a name. SystemError: no room, with size, room and remedy in its text (ENOMEM, ENOSPC,
  /// EFBIG), no descriptor (EMFILE). Unsupported: a size of 0, or one that a negative number became.
  static SharedMemory anonymous(std::size_t size);

  /// The same, but none of it is reserved: `size` may be far more than the machine has, and memory is taken page by
  /// page as it is touched. What reserve() has not made sure of may find no memory left, which ends the process
  /// (SIGBUS, or the out-of-memory killer). SystemError with EFBIG or ENOMEM: a limit of this process is in the way
  /// (RLIMIT_FSIZE, RLIMIT_AS).
  static SharedMemory sparse(std::size_t size);

  /// `size` bytes (> 0) called `name`. SystemError: the name is taken (EEXIST) or too long (ENAMETOOLONG), no room in
  /// /dev/shm, no descriptor. Unsupported: a size as above; a name that is empty, "." or "..", or has a slash or a zero
  /// byte in it.
  static SharedMemory create(std::string_view name, std::size_t size);

  /// All of what `name` names. SystemError: there is none (ENOENT), it is another user's (EACCES), it is no block
  /// (EINVAL), no descriptor; its maker did not reserve it, and there is no room for it (ENOSPC, ENOMEM), with size,
  /// room and remedy. Unsupported: such a name as above. InvalidState: it has no size yet.
  static SharedMemory open(std::string_view name);

  /// Another handle to the same bytes: to be kept when this one is given to a Process, or to be given away.
  /// InvalidState after close().
  SharedMemory duplicate() const;

  SharedMemory(SharedMemory&& other) noexcept = default;
  SharedMemory& operator=(SharedMemory&& other) noexcept = default;
  ~SharedMemory() = default;  // closes; the name, if it has one, stays

  /// The bytes; none after close() or a move.
  std::span<std::byte> bytes() noexcept { return mapped(); }
  std::span<const std::byte> bytes() const noexcept { return mapped(); }

  /// Takes the memory for these bytes now, so that touching them is safe; again: nothing. Needed for sparse memory
  /// alone. SystemError: no room, as above. Error: the range is not within the bytes.
  void reserve(std::size_t offset, std::size_t size);

  /// In bytes, as it was asked for. InvalidState after close().
  std::size_t size() const;

  /// Without a slash; "" for anonymous memory. Still there after close().
  const std::string& name() const noexcept { return name_; }

  bool closed() const noexcept { return segment_ == nullptr; }

  /// Lets go of the bytes; again: nothing. Other handles, here and elsewhere, keep theirs. Use of the object other than
  /// closed(), bytes(), name() and unlink() throws InvalidState from then on.
  void close() noexcept { segment_.reset(); }

  /// Takes the name away, before or after close(): nobody can open it any more, those who have the memory keep it.
  /// SystemError with ENOENT: it is gone already, or names another block by now. That is looked at before, by a handle
  /// that is not closed; a process that unlinks and makes anew between the look and the deed still loses its name. A
  /// handle that has unlinked does not ask the kernel a second time. InvalidState: there is no name.
  void unlink();

  /// The same for a name without a handle: what a process left behind that was killed.
  static void unlink(std::string_view name);

 private:
  friend struct Travel<SharedMemory>;

  SharedMemory(std::shared_ptr<detail::Segment> segment, std::string name) noexcept
      : segment_(std::move(segment)), name_(std::move(name)) {}

  std::span<std::byte> mapped() const noexcept { return segment_ ? segment_->bytes() : std::span<std::byte>(); }
  const detail::Segment& segment_for(const char* call) const;

  // What arrives: DecodeError when it is not what was sent.
  static SharedMemory adopt(os::Fd memory, std::uint64_t size, std::string name);

  std::shared_ptr<detail::Segment> segment_;
  std::string name_;
  bool unlinked_ = false;
};

template <>
struct Travel<SharedMemory> {
  template <class E>
  static void encode(E& to, const SharedMemory& value) {
    const detail::Segment& segment = value.segment_for("send");
    to.attach(segment.descriptor());
    to(static_cast<std::uint64_t>(segment.size()), value.name_, value.unlinked_);
  }
  template <class D>
  static SharedMemory decode(D& from) {
    os::Fd memory = from.take_fd();
    const auto size = from.template read<std::uint64_t>();
    SharedMemory arrived = SharedMemory::adopt(std::move(memory), size, from.template read<std::string>());
    arrived.unlinked_ = from.template read<bool>();
    return arrived;
  }
};

}  // namespace multiproc
