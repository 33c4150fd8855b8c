// SPDX-License-Identifier: MIT

#include <multiproc/os/at_fork.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>

#include <pthread.h>
#include <sys/single_threaded.h>

namespace multiproc::os {

namespace {

// All ForkMutexes, taken in the order in which they were made. A handful: one for each list that this library keeps.
constinit std::array<std::atomic<ForkMutex*>, 16> mutexes{};
constinit std::atomic<std::size_t> mutex_count{0};
constinit std::atomic<bool> is_registered{false};
// How many of them this thread has taken for its fork. Others may be at theirs: glibc lets go of its own lock while it
// runs a handler (since 2.36), so that the first of these mutexes is where they wait for each other.
thread_local std::size_t taken = 0;

void take_all() {
  if (__libc_single_threaded != 0) return;
  const std::size_t count = std::min(mutex_count.load(std::memory_order_acquire), mutexes.size());
  for (; taken < count; ++taken) {
    ForkMutex* mutex = mutexes[taken].load(std::memory_order_acquire);
    if (mutex == nullptr) break;  // it is being made right now: nobody can hold it
    mutex->lock();
  }
}

[[gnu::hot]] void release_all() {
  while (taken > 0) mutexes[--taken].load(std::memory_order_acquire)->unlock();
}

}  // namespace

bool is_single_threaded() noexcept {
  return __libc_single_threaded != 0;
}

Result<> at_fork(void (*before)(), void (*after_in_parent)(), void (*after_in_child)()) noexcept {
  const int error = ::pthread_atfork(before, after_in_parent, after_in_child);
  if (error != 0) return Failure{"pthread_atfork", error};
  return {};
}

bool ForkMutex::enlist() noexcept {
  if (!is_registered.exchange(true)) (void)at_fork(take_all, release_all, release_all);
  const std::size_t mine = mutex_count.fetch_add(1, std::memory_order_relaxed);
  if (mine < mutexes.size()) mutexes[mine].store(this, std::memory_order_release);
  return true;
}

}  // namespace multiproc::os
