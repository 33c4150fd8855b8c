// SPDX-License-Identifier: MIT
//
// multiproc/os/memory.hpp: unnamed memory that several processes map: memfd_create(2), fallocate, seals, mmap(2).
//
// A block has no name, so that there is nothing to clean up: the last descriptor or mapping to go frees it, however
// its process ended. Its space is reserved at birth (a lack of memory is an error here, not a SIGBUS later) and its
// size is sealed (no peer can shrink it under our feet).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include <multiproc/os/fd.hpp>

namespace multiproc::os {

/// An owned range of mapped memory; unmapped when it goes.
class Mapping {
 public:
  Mapping() noexcept = default;
  explicit Mapping(std::span<std::byte> bytes) noexcept : bytes_(bytes) {}
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  Mapping& operator=(Mapping&& other) noexcept {
    if (this != &other) {
      unmap();
      bytes_ = std::exchange(other.bytes_, {});
    }
    return *this;
  }
  ~Mapping() { unmap(); }

  std::span<std::byte> bytes() const noexcept { return bytes_; }
  explicit operator bool() const noexcept { return !bytes_.empty(); }
  std::span<std::byte> release() noexcept { return std::exchange(bytes_, {}); }  // stays mapped

 private:
  void unmap() noexcept;

  std::span<std::byte> bytes_;
};

/// A new sealed memfd of `size` bytes (> 0), all of them reserved. `label` is what /proc shows for it.
/// ENOSYS or EPERM where memfd is refused, EFBIG under a small RLIMIT_FSIZE (SIGXFSZ is held back), ENOSPC; ENOMEM,
/// and that at once for more than the machine's memory and swap. Signals wait meanwhile (about 0.3 ms a MiB).
Result<Fd> make_memory(const char* label, std::size_t size) noexcept;

/// The same without a reservation: what was not reserved by reserve_range() must not be touched, for a lack of memory
/// is a SIGBUS there. EFBIG under a small RLIMIT_FSIZE (SIGXFSZ is held back).
Result<Fd> make_sparse_memory(const char* label, std::size_t size) noexcept;

/// Reserves a range of it, by any process, again and again if need be. ENOSPC, ENOMEM as make_memory().
Result<> reserve_range(int memory, std::size_t offset, std::size_t size) noexcept;

/// What a descriptor of memory leads to.
struct MemoryInfo {
  std::uint64_t device = 0;  // with `inode`: the same memory under any descriptor, in any process
  std::uint64_t inode = 0;
  std::size_t size = 0;
  bool keeps_its_size = false;  // sealed against shrinking: touching it can't raise SIGBUS

  bool same_as(const MemoryInfo& other) const noexcept { return device == other.device && inode == other.inode; }
};
Result<MemoryInfo> look_at_memory(int memory) noexcept;

/// Maps the first `size` bytes of `memory`, shared. EINVAL when it holds fewer: such a page would be a SIGBUS.
Result<Mapping> map_shared(int memory, std::size_t size, bool writable = true) noexcept;

/// Enters all pages of a mapping into this process's page table at once, which is quicker than a fault for each
/// (MADV_POPULATE_WRITE, Linux 5.14). Older kernels leave it to the faults.
void populate(std::span<std::byte> mapped) noexcept;

/// Shared memory without a descriptor: seen by children that are forked later, and by nobody else.
Result<Mapping> map_inheritable(std::size_t size) noexcept;

/// Maps `size` bytes for this process alone: a forked child finds them zeroed (MADV_WIPEONFORK, madvise(2)), and
/// writing to them after a fork costs no copy. EINVAL: the kernel can't (before Linux 4.14).
Result<Mapping> map_left_out_of_forks(std::size_t size) noexcept;

}  // namespace multiproc::os
