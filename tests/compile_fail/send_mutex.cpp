// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a mutex of this process does not work in another; send what it

#include <mutex>

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(const std::mutex& mutex) {
  return multiproc::encode(mutex);
}
