// SPDX-License-Identifier: MIT

#include <string>

#include "memory/workload.hpp"
#include "support/bench.hpp"

namespace {

using namespace memory_bench;

void named_python(benchmark::State& state) {
  const std::string rounds = bench::is_quick() ? "10" : "1000";
  bench::time_python(state, "memory/python.py", {"named", std::to_string(state.range(0)), rounds});
}
BENCHMARK(named_python)->Arg(kPage)->UseManualTime()->Iterations(1);

void increment_python(benchmark::State& state) {
  bench::time_python(state, "memory/python.py", {"increment", bench::is_quick() ? "1000" : "100000"});
}
BENCHMARK(increment_python)->UseManualTime()->Iterations(1);

void copy_python(benchmark::State& state) {
  bench::time_python(state, "memory/python.py", {"copy", std::to_string(size_of_array()), "5"});
}
BENCHMARK(copy_python)->UseManualTime()->Iterations(1);

}  // namespace
