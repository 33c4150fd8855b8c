// SPDX-License-Identifier: MIT
// expect: multiproc: not Shareable: this class is trivially copyable, but has private members or constructors

#include <multiproc/sync/value.hpp>

class Price {
 public:
  long cents() const { return cents_; }

 private:
  long cents_ = 0;
};

multiproc::Value<Price> make() {
  return multiproc::Value<Price>();
}
