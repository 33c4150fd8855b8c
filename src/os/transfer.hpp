// SPDX-License-Identifier: MIT
//
// src/os/transfer.hpp: what every call that moves bytes through a socket has in common.
#pragma once

#include <array>
#include <cerrno>
#include <cstddef>

#include <sys/socket.h>

#include <multiproc/deadline.hpp>
#include <multiproc/os/fd.hpp>
#include <multiproc/os/result.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

/// Tries `call`; waits with `wait(socket, deadline)` where it would block, and tries again. One place for EINTR, EAGAIN
/// and the deadline, which is ETIMEDOUT.
template <class Call, class Wait>
Result<std::size_t> transfer(const char* name, Call call, Wait wait, int socket, Deadline deadline) noexcept {
  for (;;) {
    int error = fault::injected(name);
    if (error == 0) {
      const ssize_t moved = call();
      if (moved >= 0) return static_cast<std::size_t>(moved);
      error = errno;
    }
    if (error == EINTR) continue;
    if (error != EAGAIN) return Failure{name, error};
    const auto ready = wait(socket, deadline);
    if (!ready) return ready.failure();
    if (!ready.value()) return Failure{name, ETIMEDOUT};
  }
}

/// Two connected AF_UNIX sockets of this type, close-on-exec and above 2.
inline Result<std::array<Fd, 2>> make_pair_of(int type) noexcept {
  if (const int error = fault::injected("socketpair")) return Failure{"socketpair", error};
  int ends[2];
  if (::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0) return Failure{"socketpair", errno};
  Result<Fd> first = above_stdio(Fd{ends[0]});
  Result<Fd> second = above_stdio(Fd{ends[1]});
  if (!first) return first.failure();
  if (!second) return second.failure();
  return std::array<Fd, 2>{std::move(first.value()), std::move(second.value())};
}

}  // namespace multiproc::os
