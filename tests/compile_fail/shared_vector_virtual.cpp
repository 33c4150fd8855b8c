// SPDX-License-Identifier: MIT
// expect: multiproc: shared_vector<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)

#include <multiproc/sync/shared_vector.hpp>

struct Shape {
  virtual double area() const { return 0; }
  double width = 0;
};

multiproc::shared_vector<Shape> make() {
  return multiproc::shared_vector<Shape>();
}
