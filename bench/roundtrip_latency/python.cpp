// SPDX-License-Identifier: MIT

#include <string>

#include "roundtrip_latency/workload.hpp"
#include "support/bench.hpp"

namespace {

void roundtrip_python(benchmark::State& state) {
  bench::time_python(state, "roundtrip_latency/python.py",
                     {std::to_string(state.range(1)), std::to_string(roundtrip_bench::rounds())});
}
BENCHMARK(roundtrip_python)->ArgsProduct({{64}, {0, 1}})->UseManualTime()->Iterations(1);

}  // namespace
