// SPDX-License-Identifier: MIT

#include <multiproc/os/signal.hpp>

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>

namespace multiproc::os {

namespace {

// Without the way through glibc where that is easy: pthread_sigmask is a page of code that a forked child would have to
// map for this call alone. Like glibc it leaves the two signals alone that are glibc's own; sigfillset() does not name
// them. The kernel's signal set is 8 bytes.
[[gnu::hot, gnu::always_inline]] inline void set_mask(const sigset_t& mask, sigset_t* before) noexcept {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
  long result = SYS_rt_sigprocmask;
  register long size __asm__("r10") = 8;
  __asm__ volatile("syscall"
                   : "+a"(result)
                   : "D"(SIG_SETMASK), "S"(&mask), "d"(before), "r"(size)
                   : "rcx", "r11", "memory");
#else
  ::pthread_sigmask(SIG_SETMASK, &mask, before);
#endif
}

}  // namespace

AllSignalsBlocked::AllSignalsBlocked() noexcept {
  sigset_t all;
  ::sigfillset(&all);
  ::sigemptyset(&before_);
  set_mask(all, &before_);
}

AllSignalsBlocked::~AllSignalsBlocked() {
  restore();
}

[[gnu::hot]] void AllSignalsBlocked::restore() const noexcept {
  set_mask(before_, nullptr);
}

}  // namespace multiproc::os
