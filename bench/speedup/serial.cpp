// SPDX-License-Identifier: MIT

#include "speedup/workload.hpp"

namespace {

void primes_serial(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    const long count = speedup::count_share(speedup::job().limit, 0, 1);
    speedup::check(state, {&count, 1});
  }
}
BENCHMARK(primes_serial)->Apply(speedup::rules)->UseRealTime();

}  // namespace
