// SPDX-License-Identifier: MIT

#include <multiproc/process/print.hpp>

#include "print/workload.hpp"
#include "support/bench.hpp"

namespace {

void print_multiproc(benchmark::State& state) {
  const auto [worker, step] = workload::values();
  workload::show_lines(state, [&] { multiproc::println("worker {} has done step {} ok", worker, step); });
}
BENCHMARK(print_multiproc)->UseRealTime();

const bench::Ratio goal{"print_multiproc", "print_raw_write", bench::speed_at_least(0.75)};

}  // namespace
