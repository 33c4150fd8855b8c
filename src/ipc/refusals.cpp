// SPDX-License-Identifier: MIT

#include "ipc/refusals.hpp"

#include <cerrno>
#include <string>

#include <multiproc/ipc/connection.hpp>

namespace multiproc::detail {

void refuse_send(os::Failure failure, std::size_t size) {
  std::string remedy;
  switch (failure.error) {
    case EPIPE: remedy = "Nobody has the other end any more: its processes ended, or closed it."; break;
    case EMSGSIZE: remedy = "The kernel's queue is too small for it: raise net.core.wmem_default."; break;
    case EMFILE:
    case ENFILE: remedy = "Close some descriptors, or raise the limit (ulimit -n)."; break;
    case ETOOMANYREFS:
      remedy =
          "Too many descriptors are on their way to processes that have not received them: let them, or raise the "
          "limit "
          "(ulimit -n).";
      break;
    default: break;
  }
  os::throw_failure(failure, "a message of " + std::to_string(size) + " bytes", remedy);
}

void refuse_receive(os::Failure failure) {
  os::throw_failure(failure, "a message");
}

void refuse_fds() {
  os::throw_failure({"recvmsg", EMFILE}, "a message with descriptors",
                    "This process has no room for them: they are closed again, and the message is lost; the connection "
                    "can be used on. Close some descriptors, or raise the limit (ulimit -n).");
}

void throw_end_of_stream() {
  throw EndOfStream("recv: the other end is gone, and all that it sent has been received");
}

}  // namespace multiproc::detail
