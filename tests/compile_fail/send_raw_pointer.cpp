// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a raw pointer points into this process's memory
// expect-regex: memory; send the value, .*std::string

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(int* pointer) {
  return multiproc::encode(pointer);
}
