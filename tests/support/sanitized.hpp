// SPDX-License-Identifier: MIT
//
// tests/support/sanitized.hpp: whether this is built under a sanitizer that has memory, threads or descriptors of its
// own: AddressSanitizer (and its leak checker), ThreadSanitizer.
#pragma once

#include "os/sanitizer.hpp"

namespace support {

using multiproc::os::kThreadSanitizer;

inline constexpr bool kSanitized = kThreadSanitizer || multiproc::os::kAddressSanitizer;

}  // namespace support
