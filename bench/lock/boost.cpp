// SPDX-License-Identifier: MIT

#include <boost/interprocess/sync/interprocess_mutex.hpp>

#include <benchmark/benchmark.h>

#include "lock/workload.hpp"

namespace {

struct Boost {
  bool lock() {
    mutex.lock();
    return true;
  }
  bool unlock() {
    mutex.unlock();
    return true;
  }

  boost::interprocess::interprocess_mutex mutex;
};

BENCHMARK(lock_bench::alone<Boost>)->Name("lock_boost");
BENCHMARK(lock_bench::contended<Boost>)->Name("contended_boost")->UseManualTime()->Iterations(1);

}  // namespace
