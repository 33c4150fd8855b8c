// SPDX-License-Identifier: MIT
//
// The C library's own: mutexes shared between processes, robust and not, the one of threads, and the POSIX semaphore.

#include <cerrno>
#include <mutex>
#include <stdexcept>

#include <pthread.h>
#include <semaphore.h>

#include <benchmark/benchmark.h>

#include "lock/workload.hpp"

namespace {

using lock_bench::alone;
using lock_bench::contended;
using lock_bench::hand_over;

template <bool kRobust>
struct Pthread {
  Pthread() {
    pthread_mutexattr_t kind;
    ::pthread_mutexattr_init(&kind);
    ::pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    if (kRobust) ::pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    const int error = ::pthread_mutex_init(&mutex, &kind);
    ::pthread_mutexattr_destroy(&kind);
    if (error != 0) throw std::runtime_error("pthread_mutex_init");
  }

  bool lock() { return ::pthread_mutex_lock(&mutex) == 0; }
  bool lock_after_death() {
    return ::pthread_mutex_lock(&mutex) == EOWNERDEAD && ::pthread_mutex_consistent(&mutex) == 0;
  }
  bool unlock() { return ::pthread_mutex_unlock(&mutex) == 0; }

  pthread_mutex_t mutex;
};

struct StdMutex {  // of one process
  bool lock() {
    mutex.lock();
    return true;
  }
  bool unlock() {
    mutex.unlock();
    return true;
  }

  std::mutex mutex;
};

struct PosixSemaphore {
  PosixSemaphore() {
    if (::sem_init(&semaphore, 1, 1) != 0) throw std::runtime_error("sem_init");
  }

  bool lock() { return ::sem_wait(&semaphore) == 0; }
  bool unlock() { return ::sem_post(&semaphore) == 0; }

  sem_t semaphore;
};

BENCHMARK(alone<Pthread<true>>)->Name("lock_pthread_robust");
BENCHMARK(alone<Pthread<false>>)->Name("lock_pthread_shared");
BENCHMARK(alone<StdMutex>)->Name("lock_std_mutex");
BENCHMARK(alone<PosixSemaphore>)->Name("lock_sem_t");
BENCHMARK(contended<Pthread<true>>)->Name("contended_pthread_robust")->UseManualTime()->Iterations(1);
BENCHMARK(contended<Pthread<false>>)->Name("contended_pthread_shared")->UseManualTime()->Iterations(1);
BENCHMARK(contended<PosixSemaphore>)->Name("contended_sem_t")->UseManualTime()->Iterations(1);
BENCHMARK(hand_over<Pthread<true>>)->Name("hand_over_pthread_robust")->UseManualTime()->Iterations(1);

}  // namespace
