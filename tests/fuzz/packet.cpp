// SPDX-License-Identifier: MIT
//
// Any bytes in the queue of a Connection, received in every way; the next message of a friend arrives all the same.
// The first byte says which way.

#include <array>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <sys/socket.h>

#include <multiproc/deadline.hpp>
#include <multiproc/error.hpp>
#include <multiproc/ipc/pipe.hpp>

#include "fuzz/types.hpp"

using multiproc::Deadline;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2 || size > 100'000) return 0;
  auto [in, out] = multiproc::Pipe(false);
  if (::send(out.fileno(), data + 1, size - 1, MSG_DONTWAIT) < 0) return 0;
  out.send(7);
  try {
    std::array<std::byte, 2000> buffer;
    switch (data[0] % 8) {
      case 0: (void)in.recv<int>(Deadline::now()); break;
      case 1: (void)in.recv<std::string>(Deadline::now()); break;
      case 2: (void)in.recv<fuzz::Job>(Deadline::now()); break;
      case 3: (void)in.recv_bytes(Deadline::now()); break;
      case 4: (void)in.recv_bytes(Deadline::now(), 10); break;
      case 5: (void)in.recv_bytes_into(std::span(buffer), Deadline::now()); break;
      case 6: (void)in.recv_bytes_into(std::span(buffer).first(3), Deadline::now()); break;
      default: (void)in.recv<multiproc::Connection>(Deadline::now()); break;
    }
  } catch (const multiproc::Error&) {
  } catch (const multiproc::SystemError&) {
  }
  if (in.recv<int>(Deadline::now()) != 7) std::abort();
  return 0;
}
