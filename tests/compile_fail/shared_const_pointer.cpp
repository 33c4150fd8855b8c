// SPDX-License-Identifier: MIT
// expect: multiproc: SharedConst<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)

#include <multiproc/shm/shared_const.hpp>

struct Row {
  const char* name = "";
};

multiproc::SharedConst<Row> share(const Row& row) {
  return multiproc::SharedConst<Row>(row);
}
