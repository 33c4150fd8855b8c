// SPDX-License-Identifier: MIT
//
// Any bytes as the encoding of any type: an error or a value, which is encoded and decoded again.
// The first byte says which type.

#include <cstdint>
#include <cstdlib>
#include <span>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>

#include "fuzz/types.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  fuzz::with_type(fuzz::All{}, data[0], [&]<class T>() {
    try {
      const T value = multiproc::decode<T>(bytes);
      const multiproc::Encoded again = multiproc::encode(value);
      (void)multiproc::decode<T>(again.bytes);
    } catch (const multiproc::DecodeError&) {
    }
  });
  return 0;
}
