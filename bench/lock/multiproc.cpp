// SPDX-License-Identifier: MIT

#include <mutex>

#include <benchmark/benchmark.h>

#include <multiproc/sync/condition.hpp>
#include <multiproc/sync/event.hpp>
#include <multiproc/sync/lock.hpp>
#include <multiproc/sync/rlock.hpp>
#include <multiproc/sync/semaphore.hpp>

#include "lock/workload.hpp"
#include "support/bench.hpp"

namespace {

using lock_bench::alone;
using lock_bench::contended;
using lock_bench::hand_over;
using lock_bench::wake;
using multiproc::Acquired;

template <class Handle>
struct Ours {
  Handle handle;

  bool lock() { return handle.acquire() == Acquired::clean; }
  bool lock_after_death() { return handle.acquire() == Acquired::owner_died; }
  bool unlock() {
    handle.release();
    return true;
  }
};
using Lock = Ours<multiproc::Lock>;
using RLock = Ours<multiproc::RLock>;

struct Semaphore {
  multiproc::Semaphore handle{1};

  bool lock() {
    handle.acquire();
    return true;
  }
  bool unlock() {
    handle.release();
    return true;
  }
};

BENCHMARK(alone<Lock>)->Name("lock_multiproc");
BENCHMARK(alone<RLock>)->Name("lock_multiproc_rlock");
BENCHMARK(alone<Semaphore>)->Name("lock_multiproc_semaphore");
BENCHMARK(contended<Lock>)->Name("contended_multiproc")->UseManualTime()->Iterations(1);
BENCHMARK(contended<RLock>)->Name("contended_multiproc_rlock")->UseManualTime()->Iterations(1);
BENCHMARK(contended<Semaphore>)->Name("contended_multiproc_semaphore")->UseManualTime()->Iterations(1);
BENCHMARK(hand_over<Lock>)->Name("hand_over_multiproc")->UseManualTime()->Iterations(1);

struct SemaphoreDoor {
  multiproc::Semaphore handle{0};

  bool wait() { return handle.acquire(multiproc::Deadline::never()); }
  void wake() { handle.release(); }
};

struct EventDoor {
  multiproc::Event handle;

  bool wait() {
    handle.wait();
    handle.clear();
    return true;
  }
  void wake() { handle.set(); }
};

struct ConditionDoor {
  multiproc::Condition handle;

  bool wait() {
    const std::scoped_lock held(handle);
    return handle.wait();
  }
  void wake() {
    const std::scoped_lock held(handle);
    handle.notify();
  }
};

BENCHMARK(wake<SemaphoreDoor>)->Name("wake_multiproc_semaphore")->UseManualTime()->Iterations(1);
BENCHMARK(wake<EventDoor>)->Name("wake_multiproc_event")->UseManualTime()->Iterations(1);
BENCHMARK(wake<ConditionDoor>)->Name("wake_multiproc_condition")->UseManualTime()->Iterations(1);

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
const bench::Ratio to_shared{"lock_multiproc", "lock_pthread_shared", bench::at_most(0)};
const bench::Ratio to_std_mutex{"lock_multiproc", "lock_std_mutex", bench::at_most(0)};
const bench::Ratio to_boost{"lock_multiproc", "lock_boost", bench::at_most(0)};
const bench::Ratio to_python{"lock_python", "lock_multiproc", bench::at_most(0)};
const bench::Ratio rlock{"lock_multiproc_rlock", "lock_pthread_robust", bench::at_most(0)};
const bench::Ratio semaphore{"lock_multiproc_semaphore", "lock_sem_t", bench::at_most(2)};
const bench::Ratio event{"event_multiproc", "lock_sem_t", bench::at_most(2)};
const bench::Ratio contended_goal{"contended_multiproc", "contended_pthread_robust", bench::speed_at_least(1.0)};
const bench::Ratio contended_to_shared{"contended_multiproc", "contended_pthread_shared", bench::speed()};
const bench::Ratio contended_to_boost{"contended_multiproc", "contended_boost", bench::speed()};
const bench::Ratio contended_to_python{"contended_multiproc", "contended_python", bench::speed()};
const bench::Ratio contended_semaphore{"contended_multiproc_semaphore", "contended_sem_t", bench::speed()};
const bench::Ratio hand_over_ratio{"hand_over_multiproc", "hand_over_pthread_robust", bench::at_most(0)};
const bench::Ratio wake_semaphore{"wake_multiproc_semaphore", "wake_raw_futex", bench::at_most(1.2)};
const bench::Ratio wake_event{"wake_multiproc_event", "wake_raw_futex", bench::at_most(1.2)};
const bench::Ratio wake_condition{"wake_multiproc_condition", "wake_raw_futex", bench::at_most(1.2)};

}  // namespace
