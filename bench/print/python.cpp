// SPDX-License-Identifier: MIT

#include "print/workload.hpp"
#include "support/bench.hpp"

namespace {

void print_python(benchmark::State& state) {
  bench::time_python(state, "print/python.py", {"50000"});
}
BENCHMARK(print_python)->UseManualTime()->Iterations(1);

const bench::Ratio of_python{"print_python", "print_raw_write", bench::speed_at_least(0)};

}  // namespace
