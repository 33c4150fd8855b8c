// SPDX-License-Identifier: MIT

#include <string>

#include "lock/workload.hpp"
#include "support/bench.hpp"

namespace {

void lock_python(benchmark::State& state) {
  bench::time_python(state, "lock/python.py", {"alone", std::to_string(lock_bench::rounds_of_each() / 4)});
}
BENCHMARK(lock_python)->UseManualTime()->Iterations(1);

void contended_python(benchmark::State& state) {
  bench::time_python(state, "lock/python.py", {"contended", std::to_string(lock_bench::rounds_of_each() / 10)});
}
BENCHMARK(contended_python)->UseManualTime()->Iterations(1);

}  // namespace
