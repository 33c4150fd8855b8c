// SPDX-License-Identifier: MIT
// expect: multiproc: shared_vector<T>: T has to be Shareable (trivially copyable, no pointer anywhere inside)

#include <string>

#include <multiproc/sync/shared_vector.hpp>

multiproc::shared_vector<std::string> make() {
  return multiproc::shared_vector<std::string>();
}
