// SPDX-License-Identifier: MIT
// expect: multiproc: not Shareable: a pointer is an address of this process
// expect: multiproc: Value<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)

#include <multiproc/sync/value.hpp>

struct Link {
  Link* next = nullptr;
};

multiproc::Value<Link> make() {
  return multiproc::Value<Link>();
}
