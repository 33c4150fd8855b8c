// SPDX-License-Identifier: MIT
// expect: multiproc: not Shareable: std::pair and std::tuple are not trivially copyable

#include <utility>

#include <multiproc/sync/value.hpp>

multiproc::Value<std::pair<int, int>> make() {
  return multiproc::Value<std::pair<int, int>>();
}
