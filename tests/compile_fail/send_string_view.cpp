// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a view (string_view, span) borrows memory of this process; send a std::string or a
// std::vector

#include <string_view>

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(std::string_view view) {
  return multiproc::encode(view);
}
