// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a raw pointer points into this process's memory; send the value, a std::string, or a
// SharedMemory

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(int* pointer) {
  return multiproc::encode(pointer);
}
