// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a view (string_view, span) borrows memory of this process
// expect: send a std::string or a std::vector, which own it

#include <string_view>

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(std::string_view view) {
  return multiproc::encode(view);
}
