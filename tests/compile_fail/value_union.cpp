// SPDX-License-Identifier: MIT
// expect: multiproc: not Shareable: this aggregate can't be looked into

#include <multiproc/sync/value.hpp>

union Number {
  int whole;
  float broken;
};
struct Row {
  Number number;
  int count;
};

multiproc::Value<Row> make() {
  return multiproc::Value<Row>();
}
