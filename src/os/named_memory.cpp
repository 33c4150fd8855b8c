// SPDX-License-Identifier: MIT

#include <multiproc/os/named_memory.hpp>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <limits>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

#include "os/fault.hpp"
#include "os/new_memory.hpp"

namespace multiproc::os {

namespace {

constexpr mode_t kOwnerOnly = 0600;  // as CPython's multiprocessing.shared_memory

Result<Fd> open_name(const char* name, int flags) noexcept {
  for (;;) {
    int error = fault::injected("shm_open");
    if (error == 0) {
      const int made = ::shm_open(name, flags | O_RDWR | O_CLOEXEC, kOwnerOnly);
      if (made >= 0) return Fd{made};
      error = errno;
    }
    if (error != EINTR) return Failure{"shm_open", error};
  }
}

// A /dev/shm without a bound of its own would be filled page by page, until the out-of-memory killer comes.
bool exceeds_machine(std::size_t size) noexcept {
  const auto machine = room_in_machine();
  return size > static_cast<std::size_t>(std::numeric_limits<off_t>::max()) ||
         (machine && machine.value().total != 0 && size > machine.value().total);
}

Result<> reserve_named(int memory, std::size_t size) noexcept {
  constexpr const char* kCall = "posix_fallocate";
  if (size == 0) return Failure{kCall, EINVAL};
  // A limit that is passed answers EFBIG and raises SIGXFSZ, which would end the program.
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur) {
    return Failure{kCall, EFBIG};
  }
  if (exceeds_machine(size)) return Failure{kCall, ENOMEM};
  const SignalsHeld held;
  for (;;) {
    int error = fault::injected(kCall);
    if (error == 0) error = ::posix_fallocate(memory, 0, static_cast<off_t>(size));
    if (error == 0) return {};
    if (error != EINTR) return Failure{kCall, error};
  }
}

}  // namespace

Result<> reserve_existing(int memory, std::size_t size) noexcept {
  constexpr const char* kCall = "fallocate";
  if (exceeds_machine(size)) return Failure{kCall, ENOMEM};
  const SignalsHeld held;
  for (;;) {
    int error = fault::injected(kCall);
    if (error == 0) {
      // Not posix_fallocate(3): where the file system can't, it would write to what others are using.
      if (::fallocate(memory, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(size)) == 0) return {};
      error = errno;
    }
    if (error == ENOSPC || error == ENOMEM) return Failure{kCall, error};
    if (error != EINTR) return {};
  }
}

Result<Fd> create_named(const char* name, std::size_t size) noexcept {
  Result<Fd> made = open_name(name, O_CREAT | O_EXCL);
  if (!made) return made;
  Result<Fd> memory = above_stdio(std::move(made).value());
  Result<> reserved;
  if (memory) reserved = reserve_named(memory.value().get(), size);
  if (memory && reserved) return memory;
  (void)unlink_named(name);
  return memory ? reserved.failure() : memory.failure();
}

Result<Fd> open_named(const char* name) noexcept {
  Result<Fd> opened = open_name(name, 0);
  return opened ? above_stdio(std::move(opened).value()) : Result<Fd>(opened.failure());
}

Result<MemoryInfo> look_at_named(const char* name) noexcept {
  if (const int error = fault::injected("stat")) return Failure{"stat", error};
  char path[sizeof "/dev/shm/" + NAME_MAX];
  const int length = std::snprintf(path, sizeof path, "/dev/shm/%s", name);
  if (length < 0 || static_cast<std::size_t>(length) >= sizeof path) return Failure{"stat", ENAMETOOLONG};
  struct stat info {};
  if (::lstat(path, &info) != 0) return Failure{"stat", errno};
  return MemoryInfo{info.st_dev, info.st_ino, static_cast<std::size_t>(info.st_size), false};
}

Result<> unlink_named(const char* name) noexcept {
  if (const int error = fault::injected("shm_unlink")) return Failure{"shm_unlink", error};
  if (::shm_unlink(name) != 0) return Failure{"shm_unlink", errno};
  return {};
}

Result<Room> room_for_named() noexcept {
  if (const int error = fault::injected("statvfs")) return Failure{"statvfs", error};
  struct statvfs info {};
  if (::statvfs("/dev/shm", &info) != 0) return Failure{"statvfs", errno};
  return Room{std::uint64_t{info.f_blocks} * info.f_frsize, std::uint64_t{info.f_bavail} * info.f_frsize};
}

Result<Room> room_in_machine() noexcept {
  if (const int error = fault::injected("sysinfo")) return Failure{"sysinfo", error};
  struct sysinfo info {};
  if (::sysinfo(&info) != 0) return Failure{"sysinfo", errno};
  return Room{(std::uint64_t{info.totalram} + info.totalswap) * info.mem_unit,
              (std::uint64_t{info.freeram} + info.bufferram + info.freeswap) * info.mem_unit};
}

}  // namespace multiproc::os
