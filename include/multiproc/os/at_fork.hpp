// SPDX-License-Identifier: MIT
//
// multiproc/os/at_fork.hpp: what must happen around every fork(2) of this process, whoever calls it.
#pragma once

#include <mutex>

#include <multiproc/os/result.hpp>

namespace multiproc::os {

/// Registers three functions, each may be null: `before` and `after_in_parent` run in the parent around fork(),
/// `after_in_child` in the child before fork() returns there; only async-signal-safe calls may stand in the last.
/// Later registrations run first before the fork, and last after it (pthread_atfork(3)). A raw clone runs none of them.
Result<> at_fork(void (*before)(), void (*after_in_parent)(), void (*after_in_child)()) noexcept;

/// Whether this process certainly has one thread alone. False may mean "perhaps": so it stays after the second has
/// ended.
bool is_single_threaded() noexcept;

/// A mutex that a forked child finds unlocked, and what it guards whole: while several threads run, every fork of this
/// process takes it first. With one thread nobody else can hold it, and the fork leaves it alone: after a fork the
/// first write to a page copies it, in parent and child, which costs more than all the rest of a start. Never
/// destroyed.
class ForkMutex {
 public:
  constexpr ForkMutex() noexcept = default;
  ForkMutex(const ForkMutex&) = delete;
  ForkMutex& operator=(const ForkMutex&) = delete;

  /// From now on forks take it, for good. Once, while the program is loaded: so that the mutex itself is there before
  /// all static constructors. True, to be the initialiser of something.
  bool enlist() noexcept;

  void lock() { mutex_.lock(); }
  bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

/// Holds a ForkMutex; does without where there is nobody else, so that nothing is written.
class ForkLock {
 public:
  explicit ForkLock(ForkMutex& mutex) : mutex_(is_single_threaded() ? nullptr : &mutex) {
    if (mutex_ != nullptr) mutex_->lock();
  }
  ~ForkLock() {
    if (mutex_ != nullptr) mutex_->unlock();
  }
  ForkLock(const ForkLock&) = delete;
  ForkLock& operator=(const ForkLock&) = delete;

 private:
  ForkMutex* const mutex_;
};

}  // namespace multiproc::os
