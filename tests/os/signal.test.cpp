// SPDX-License-Identifier: MIT

#include <multiproc/os/signal.hpp>

#include <csignal>
#include <thread>

#include <pthread.h>

#include <gtest/gtest.h>

#include "os/os_test.hpp"

namespace {

using multiproc::os::AllSignalsBlocked;

sigset_t mask() {
  sigset_t now;
  ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
  return now;
}

// glibc keeps two signals for itself, which can't be blocked.
bool is_for_programs(int signal) {
  return signal < SIGRTMIN ? signal < 32 && signal != SIGKILL && signal != SIGSTOP : signal <= SIGRTMAX;
}

TEST(AllSignalsBlockedTest, BlocksEverySignalWhileItLivesAndNoneAfter) {
  const sigset_t before = mask();
  {
    const AllSignalsBlocked blocked;
    const sigset_t meanwhile = mask();
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
      EXPECT_TRUE(!is_for_programs(signal) || ::sigismember(&meanwhile, signal) == 1) << signal;
    }
  }
  const sigset_t after = mask();

  for (int signal = 1; signal <= SIGRTMAX; ++signal) {
    EXPECT_EQ(::sigismember(&after, signal), ::sigismember(&before, signal)) << signal;
  }
}

TEST(AllSignalsBlockedTest, ASignalWaitsUntilTheEnd) {
  const os_test::SignalStorm counts{std::chrono::nanoseconds(0)};  // its handler alone: this timer never goes off
  {
    const AllSignalsBlocked blocked;
    ::pthread_kill(::pthread_self(), SIGUSR2);
    EXPECT_EQ(os_test::SignalStorm::signals(), 0);
  }

  EXPECT_EQ(os_test::SignalStorm::signals(), 1);
}

TEST(AllSignalsBlockedTest, WhatWasBlockedBeforeStaysBlockedAndTheyNest) {
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &only, nullptr);
  {
    const AllSignalsBlocked outer;
    { const AllSignalsBlocked inner; }
    const sigset_t between = mask();
    EXPECT_EQ(::sigismember(&between, SIGTERM), 1);
  }
  const sigset_t after = mask();
  ::pthread_sigmask(SIG_UNBLOCK, &only, nullptr);

  EXPECT_EQ(::sigismember(&after, SIGUSR1), 1);
  EXPECT_EQ(::sigismember(&after, SIGTERM), 0);
}

TEST(AllSignalsBlockedTest, IsTheCallingThreadsAffairAlone) {
  const AllSignalsBlocked blocked;
  sigset_t none;
  ::sigemptyset(&none);

  std::thread{[&] {
    ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
    { const AllSignalsBlocked theirs; }
    const sigset_t now = mask();
    EXPECT_EQ(::sigismember(&now, SIGTERM), 0);
  }}.join();

  const sigset_t now = mask();
  EXPECT_EQ(::sigismember(&now, SIGTERM), 1);
}

}  // namespace
