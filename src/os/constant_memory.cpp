// SPDX-License-Identifier: MIT

#include <multiproc/os/constant_memory.hpp>

#include <cerrno>

#include <fcntl.h>
#include <sys/resource.h>

#include "os/fault.hpp"
#include "os/new_memory.hpp"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010  // linux/fcntl.h, since Linux 5.1
#endif

namespace multiproc::os {

namespace {

// FUTURE_WRITE and not WRITE: until Linux 6.7 the latter refused shared mappings that only read, too. With nobody
// having it mapped for writing by now, both say the same.
Result<> seal(int memory) noexcept {
  constexpr const char* kCall = "fcntl(F_ADD_SEALS)";
  constexpr int kSize = F_SEAL_SHRINK | F_SEAL_GROW;
  if (const int error = fault::injected("fcntl")) return Failure{kCall, error};
  if (::fcntl(memory, F_ADD_SEALS, kSize | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == 0) return {};
  if (errno == EINVAL && ::fcntl(memory, F_ADD_SEALS, kSize | F_SEAL_SEAL) == 0) return {};
  return Failure{kCall, errno};
}

}  // namespace

Result<Fd> make_constant(const char* label, std::span<const std::byte> bytes) noexcept {
  if (bytes.empty()) return Failure{"memfd_create", EINVAL};
  Result<Fd> memory = new_memory(label);
  if (!memory) return memory;
  rlimit limit{};  // that is passed answers EFBIG and raises SIGXFSZ, which would end the program
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes.size() > limit.rlim_cur) {
    return Failure{"write", EFBIG};
  }
  const int fd = memory.value().get();
  if (const auto written = write_all(fd, bytes); !written) return written.failure();
  if (const auto sealed = seal(fd); !sealed) return sealed.failure();
  return memory;
}

}  // namespace multiproc::os
