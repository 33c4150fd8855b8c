// SPDX-License-Identifier: MIT
// expect: multiproc: not sendable: a shared_ptr or weak_ptr shares within this process
// expect: send the value that it points to

#include <memory>

#include <cereal/types/memory.hpp>  // which could write one, as a copy: no way round the refusal

#include <multiproc/ipc/encode.hpp>

multiproc::Encoded send(const std::shared_ptr<int>& pointer) {
  return multiproc::encode(pointer);
}
