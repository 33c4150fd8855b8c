// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: this class is trivially copyable but may hide a pointer
// expect: sendable_as_bytes

#include <multiproc/ipc/encode.hpp>

class Handle {
 public:
  explicit Handle(int* at) : at_(at) {}

 private:
  [[maybe_unused]] int* at_;
};

multiproc::Encoded send(Handle handle) {
  return multiproc::encode(handle);
}
