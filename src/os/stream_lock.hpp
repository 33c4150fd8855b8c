// SPDX-License-Identifier: MIT
//
// src/os/stream_lock.hpp: the lock of a FILE, which stdio's own functions take too.
//
// A process with one thread goes without, as stdio itself does. The lock remembers what it did, so a thread that is
// born meanwhile finds the FILE as if this print had not yet begun.
#pragma once

#include <sys/single_threaded.h>

#include <cstdio>

namespace multiproc::os {

class StreamLock {
 public:
  explicit StreamLock(std::FILE* stream) noexcept : stream_(__libc_single_threaded != 0 ? nullptr : stream) {
    if (stream_ != nullptr) ::flockfile(stream_);
  }
  ~StreamLock() {
    if (stream_ != nullptr) ::funlockfile(stream_);
  }
  StreamLock(const StreamLock&) = delete;
  StreamLock& operator=(const StreamLock&) = delete;

 private:
  std::FILE* stream_;
};

}  // namespace multiproc::os
