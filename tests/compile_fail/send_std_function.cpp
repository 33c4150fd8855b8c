// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a std::function hides what it captured

#include <functional>

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(const std::function<int()>& function) {
  return multiproc::encode(function);
}
