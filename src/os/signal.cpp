// SPDX-License-Identifier: MIT

#include <multiproc/os/signal.hpp>

#include <pthread.h>
#include <signal.h>

namespace multiproc::os {

AllSignalsBlocked::AllSignalsBlocked() noexcept {
  sigset_t all;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before_);
}

[[gnu::hot]] AllSignalsBlocked::~AllSignalsBlocked() {
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

}  // namespace multiproc::os
