// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a C array can't be returned by a receiver; send a std::string

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send() {
  return multiproc::encode("hello");
}
