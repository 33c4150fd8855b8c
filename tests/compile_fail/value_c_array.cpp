// SPDX-License-Identifier: MIT
// expect: multiproc: Value<T>: a C array can't be returned or assigned; use Array<Element>, or a std::array

#include <multiproc/sync/value.hpp>

multiproc::Value<int[4]>* make() {
  return new multiproc::Value<int[4]>();
}
