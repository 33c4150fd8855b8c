// SPDX-License-Identifier: MIT
// expect: multiproc: Value<T>::with: the function returns nothing and takes T by value

#include <multiproc/sync/value.hpp>

void add(const multiproc::Value<int>& number) {
  number.with([](int n) { ++n; });
}
