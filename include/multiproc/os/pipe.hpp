// SPDX-License-Identifier: MIT
//
// multiproc/os/pipe.hpp: pipe2(2). A one-way stream of bytes; whole up to 4096 bytes a write (pipe(7)).
#pragma once

#include <multiproc/os/fd.hpp>

namespace multiproc::os {

struct PipeEnds {
  Fd read;
  Fd write;
};

/// Both ends close-on-exec and above 2.
Result<PipeEnds> make_pipe() noexcept;

}  // namespace multiproc::os
