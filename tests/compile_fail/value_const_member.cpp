// SPDX-License-Identifier: MIT
// expect: multiproc: Value<T>: T can't be assigned; has it a const member?

#include <multiproc/sync/value.hpp>

struct Row {
  const int number = 1;
  int count = 0;
};

multiproc::Value<Row> make() {
  return multiproc::Value<Row>();
}
