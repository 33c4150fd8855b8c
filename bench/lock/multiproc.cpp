// SPDX-License-Identifier: MIT
//
// One thread, nobody else there: what the locks of this library cost when there is nothing to wait for.

#include <benchmark/benchmark.h>

#include <multiproc/sync/event.hpp>
#include <multiproc/sync/lock.hpp>
#include <multiproc/sync/rlock.hpp>
#include <multiproc/sync/semaphore.hpp>

#include "support/bench.hpp"

namespace {

void lock_multiproc(benchmark::State& state) {
  const multiproc::Lock lock;
  for (auto _ : state) {
    lock.lock();
    benchmark::ClobberMemory();
    lock.unlock();
  }
  if (lock.locked()) state.SkipWithError("it is still locked");
}
BENCHMARK(lock_multiproc);

void rlock_multiproc(benchmark::State& state) {
  const multiproc::RLock lock;
  for (auto _ : state) {
    lock.lock();
    benchmark::ClobberMemory();
    lock.unlock();
  }
  if (lock.locked()) state.SkipWithError("it is still locked");
}
BENCHMARK(rlock_multiproc);

void semaphore_multiproc(benchmark::State& state) {
  const multiproc::Semaphore semaphore(1);
  for (auto _ : state) {
    semaphore.acquire();
    benchmark::ClobberMemory();
    semaphore.release();
  }
  if (semaphore.value() != 1) state.SkipWithError("the count is wrong");
}
BENCHMARK(semaphore_multiproc);

void event_multiproc(benchmark::State& state) {
  const multiproc::Event event;
  for (auto _ : state) {
    event.set();
    event.wait();
    event.clear();
  }
  if (event.is_set()) state.SkipWithError("it is still set");
}
BENCHMARK(event_multiproc);

const bench::Ratio lock_goal{"lock_multiproc", "lock_pthread_robust", bench::at_most(1.15)};
const bench::Ratio semaphore_goal{"semaphore_multiproc", "semaphore_sem_t", bench::at_most(2.0)};
const bench::Ratio event_goal{"event_multiproc", "semaphore_sem_t", bench::at_most(2.0)};

}  // namespace
