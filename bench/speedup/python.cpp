// SPDX-License-Identifier: MIT

#include <string>

#include "speedup/workload.hpp"
#include "support/bench.hpp"

namespace {

void time_primes(benchmark::State& state, const std::string& processes) {
  const auto [limit, primes] = speedup::python_job();
  bench::time_python(state, "speedup/python.py", {processes, std::to_string(limit), std::to_string(primes)});
}

void primes_python_serial(benchmark::State& state) {
  time_primes(state, "0");
}
void primes_python_pool(benchmark::State& state) {
  time_primes(state, std::to_string(speedup::worker_count()));
}
BENCHMARK(primes_python_serial)->Apply(speedup::rules)->UseManualTime();
BENCHMARK(primes_python_pool)->Apply(speedup::rules)->UseManualTime();

}  // namespace
