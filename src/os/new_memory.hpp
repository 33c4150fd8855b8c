// SPDX-License-Identifier: MIT
//
// src/os/new_memory.hpp: what all kinds of shared memory are made with.
#pragma once

#include <cerrno>
#include <ctime>

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

#include <multiproc/os/fd.hpp>
#include <multiproc/os/result.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

// fallocate beyond RLIMIT_FSIZE answers EFBIG and raises SIGXFSZ in this thread, which would end the program: held
// back here, and taken away if it came from us. All other signals are held back too: kernels of Debian 12's age
// give up a half-done fallocate of memory at any signal and free what they had, so that under the timer of a profiler
// a large block would never be done.
class SignalsHeld {
 public:
  SignalsHeld() noexcept {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGXFSZ) == 1;
  }
  ~SignalsHeld() {
    const int kept = errno;
    constexpr std::timespec kNoWait{};
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, SIGXFSZ);
    if (!was_pending_) ::sigtimedwait(&only, nullptr, &kNoWait);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    errno = kept;
  }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  sigset_t before_;
  bool was_pending_ = false;
};

/// A memfd of no size yet, close-on-exec and above the standard streams.
inline Result<Fd> new_memory(const char* label) noexcept {
  if (const int error = fault::injected("memfd_create")) return Failure{"memfd_create", error};
  const int made = ::memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (made < 0) return Failure{"memfd_create", errno};
  return above_stdio(Fd{made});
}

}  // namespace multiproc::os
