// SPDX-License-Identifier: MIT

#include <thread>
#include <vector>

#include "speedup/workload.hpp"

namespace {

void primes_std_thread(benchmark::State& state) {
  const unsigned workers = speedup::worker_count();
  const long limit = speedup::job().limit;
  for ([[maybe_unused]] auto _ : state) {
    std::vector<long> counts(workers);
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < workers; ++i) {
      threads.emplace_back([&counts, limit, workers, i] { counts[i] = speedup::count_share(limit, i, workers); });
    }
    threads.clear();  // joins
    speedup::check(state, counts);
  }
}
BENCHMARK(primes_std_thread)->Apply(speedup::rules)->UseRealTime();

}  // namespace
