// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a view (string_view, span) borrows memory of this process

#include <span>
#include <vector>

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(const std::vector<std::span<const int>>& rows) {
  return multiproc::encode(rows);
}
