// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a std::reference_wrapper refers into this process's memory; send the value

#include <functional>

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(std::reference_wrapper<int> reference) {
  return multiproc::encode(reference);
}
