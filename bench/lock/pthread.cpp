// SPDX-License-Identifier: MIT
//
// The C library's own: a mutex of the kind that ours stands on, the plain one, and the POSIX semaphore.

#include <mutex>
#include <stdexcept>

#include <pthread.h>
#include <semaphore.h>
#include <sys/mman.h>

#include <benchmark/benchmark.h>

namespace {

void* shared_page() {
  void* at = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) throw std::runtime_error("mmap");
  return at;
}

void lock_pthread(benchmark::State& state, bool robust) {
  auto* const mutex = static_cast<pthread_mutex_t*>(shared_page());
  pthread_mutexattr_t kind;
  ::pthread_mutexattr_init(&kind);
  ::pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  if (robust) ::pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  if (::pthread_mutex_init(mutex, &kind) != 0) state.SkipWithError("pthread_mutex_init");
  for (auto _ : state) {
    if (::pthread_mutex_lock(mutex) != 0) state.SkipWithError("pthread_mutex_lock");
    benchmark::ClobberMemory();
    ::pthread_mutex_unlock(mutex);
  }
  ::munmap(mutex, 4096);
}
void lock_pthread_robust(benchmark::State& state) {
  lock_pthread(state, true);
}
void lock_pthread_shared(benchmark::State& state) {
  lock_pthread(state, false);
}
BENCHMARK(lock_pthread_robust);
BENCHMARK(lock_pthread_shared);

void lock_std_mutex(benchmark::State& state) {
  std::mutex mutex;
  for (auto _ : state) {
    mutex.lock();
    benchmark::ClobberMemory();
    mutex.unlock();
  }
}
BENCHMARK(lock_std_mutex);

void semaphore_sem_t(benchmark::State& state) {
  auto* const semaphore = static_cast<sem_t*>(shared_page());
  ::sem_init(semaphore, 1, 1);
  for (auto _ : state) {
    ::sem_wait(semaphore);
    benchmark::ClobberMemory();
    ::sem_post(semaphore);
  }
  ::munmap(semaphore, 4096);
}
BENCHMARK(semaphore_sem_t);

}  // namespace
