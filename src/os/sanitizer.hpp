// SPDX-License-Identifier: MIT
//
// src/os/sanitizer.hpp: whether this is built under ThreadSanitizer, which has a thread and exit handlers of its own.
#pragma once

namespace multiproc::os {

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif
#else
inline constexpr bool kThreadSanitizer = false;
#endif

}  // namespace multiproc::os
