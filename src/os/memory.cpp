// SPDX-License-Identifier: MIT

#include <multiproc/os/memory.hpp>

#include <cerrno>
#include <limits>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "os/fault.hpp"
#include "os/new_memory.hpp"

namespace multiproc::os {

namespace {

// More than the machine has would be handed out page by page, until the out-of-memory killer comes.
bool exceeds_machine(std::size_t size) noexcept {
  struct sysinfo machine {};
  if (::sysinfo(&machine) != 0) return false;
  return size / machine.mem_unit > machine.totalram + machine.totalswap;
}

Result<> reserve(int memory, std::size_t offset, std::size_t size) noexcept {
  if (size == 0) return Failure{"fallocate", EINVAL};
  if (exceeds_machine(size)) return Failure{"fallocate", ENOMEM};
  const SignalsHeld held;
  for (;;) {
    int error = fault::injected("fallocate");
    if (error == 0) {
      if (::fallocate(memory, 0, static_cast<off_t>(offset), static_cast<off_t>(size)) == 0) return {};
      error = errno;
    }
    if (error != EINTR) return Failure{"fallocate", error};
  }
}

Result<Mapping> map(int memory, std::size_t size, int protection, int flags) noexcept {
  if (const int error = fault::injected("mmap")) return Failure{"mmap", error};
  void* at = ::mmap(nullptr, size, protection, flags, memory, 0);
  if (at == MAP_FAILED) return Failure{"mmap", errno};
  return Mapping{{static_cast<std::byte*>(at), size}};
}

}  // namespace

void Mapping::unmap() noexcept {
  if (!bytes_.empty()) ::munmap(bytes_.data(), bytes_.size());
}

namespace {

Result<> seal(int memory) noexcept {
  if (const int error = fault::injected("fcntl")) return Failure{"fcntl(F_ADD_SEALS)", error};
  if (::fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Failure{"fcntl(F_ADD_SEALS)", errno};
  }
  return {};
}

}  // namespace

Result<Fd> make_memory(const char* label, std::size_t size) noexcept {
  Result<Fd> memory = new_memory(label);
  if (!memory) return memory;
  const int fd = memory.value().get();
  if (const auto reserved = reserve(fd, 0, size); !reserved) return reserved.failure();
  if (const auto sealed = seal(fd); !sealed) return sealed.failure();
  return memory;
}

Result<Fd> make_sparse_memory(const char* label, std::size_t size) noexcept {
  if (size == 0 || size > static_cast<std::size_t>(std::numeric_limits<off_t>::max())) {
    return Failure{"ftruncate", EINVAL};
  }
  Result<Fd> memory = new_memory(label);
  if (!memory) return memory;
  const int fd = memory.value().get();
  {
    const SignalsHeld held;
    int error = fault::injected("ftruncate");
    if (error == 0 && ::ftruncate(fd, static_cast<off_t>(size)) != 0) error = errno;
    if (error != 0) return Failure{"ftruncate", error};
  }
  if (const auto sealed = seal(fd); !sealed) return sealed.failure();
  return memory;
}

Result<> reserve_range(int memory, std::size_t offset, std::size_t size) noexcept {
  return reserve(memory, offset, size);
}

Result<MemoryInfo> look_at_memory(int memory) noexcept {
  if (const int error = fault::injected("fstat")) return Failure{"fstat", error};
  struct stat info {};
  if (::fstat(memory, &info) != 0) return Failure{"fstat", errno};
  const int seals = ::fcntl(memory, F_GET_SEALS);
  return MemoryInfo{info.st_dev, info.st_ino, static_cast<std::size_t>(info.st_size),
                    seals >= 0 && (seals & F_SEAL_SHRINK) != 0};
}

Result<Mapping> map_shared(int memory, std::size_t size, bool writable) noexcept {
  struct stat info {};
  if (::fstat(memory, &info) != 0) return Failure{"fstat", errno};
  if (size == 0 || static_cast<std::size_t>(info.st_size) < size) return Failure{"mmap", EINVAL};
  return map(memory, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED);
}

Result<Mapping> map_left_out_of_forks(std::size_t size) noexcept {
  Result<Mapping> mapping = map(-1, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  if (!mapping) return mapping;
  if (const int error = fault::injected("madvise")) return Failure{"madvise", error};
  if (::madvise(mapping.value().bytes().data(), size, MADV_WIPEONFORK) != 0) return Failure{"madvise", errno};
  return mapping;
}

void populate([[maybe_unused]] std::span<std::byte> mapped) noexcept {
#ifdef MADV_POPULATE_WRITE
  (void)::madvise(mapped.data(), mapped.size(), MADV_POPULATE_WRITE);
#endif
}

Result<Mapping> map_inheritable(std::size_t size) noexcept {
  return map(-1, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
}

}  // namespace multiproc::os
