// SPDX-License-Identifier: MIT
// expect: multiproc: Value<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)

#include <mutex>

#include <multiproc/sync/value.hpp>

multiproc::Value<std::mutex>* make() {
  return new multiproc::Value<std::mutex>();
}
