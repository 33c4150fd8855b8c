// SPDX-License-Identifier: MIT
//
// multiproc/ipc/pipe.hpp: Pipe, two ends that are connected to each other.
//
//     auto [ours, theirs] = mp::Pipe();
//
// Each end is a Connection (connection.hpp), which says all there is to say.
#pragma once

#include <multiproc/ipc/connection.hpp>

namespace multiproc {

struct Pipe {
  /// Duplex: both ends send and receive. Else `first` only receives and `second` only sends, in Python's order.
  /// SystemError: no descriptor.
  explicit Pipe(bool duplex = true);

  Connection first;
  Connection second;
};

}  // namespace multiproc
