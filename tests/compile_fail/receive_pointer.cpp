// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a raw pointer points into this process's memory

#include <multiproc/ipc/encode.hpp>

const char* receive(const multiproc::Bytes& bytes) {
  return multiproc::decode<const char*>(bytes);
}
