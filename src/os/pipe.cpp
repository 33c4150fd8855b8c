// SPDX-License-Identifier: MIT

#include <multiproc/os/pipe.hpp>

#include <cerrno>

#include <fcntl.h>
#include <unistd.h>

#include "os/fault.hpp"

namespace multiproc::os {

Result<PipeEnds> make_pipe() noexcept {
  if (const int error = fault::injected("pipe2")) return Failure{"pipe2", error};
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Failure{"pipe2", errno};
  Result<Fd> read = above_stdio(Fd{ends[0]});
  Result<Fd> write = above_stdio(Fd{ends[1]});
  if (!read) return read.failure();
  if (!write) return write.failure();
  return PipeEnds{std::move(read.value()), std::move(write.value())};
}

}  // namespace multiproc::os
