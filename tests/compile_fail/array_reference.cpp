// SPDX-License-Identifier: MIT
// expect: multiproc: Array<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)

#include <multiproc/sync/array.hpp>

struct View {
  int& number;
};

multiproc::Array<View> make(std::size_t count) {
  return multiproc::Array<View>(count);
}
