// SPDX-License-Identifier: MIT
//
// src/os/sanitizer.hpp: which sanitizer this is built under. ThreadSanitizer has a thread and exit handlers of its own,
// AddressSanitizer terabytes of memory. GCC defines a macro for each, Clang answers a question.
#pragma once

#ifdef __has_feature
#define MULTIPROC_HAS_FEATURE(feature) __has_feature(feature)
#else
#define MULTIPROC_HAS_FEATURE(feature) 0
#endif

namespace multiproc::os {

#if defined(__SANITIZE_THREAD__) || MULTIPROC_HAS_FEATURE(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

#if defined(__SANITIZE_ADDRESS__) || MULTIPROC_HAS_FEATURE(address_sanitizer)
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kAddressSanitizer = false;
#endif

}  // namespace multiproc::os

#undef MULTIPROC_HAS_FEATURE
