// SPDX-License-Identifier: MIT
//
// write(2) of a line that is ready: the limit. And what formatting it by fmt costs.

#include <unistd.h>

#include <fmt/format.h>

#include "print/workload.hpp"
#include "support/bench.hpp"

namespace {

void print_raw_write(benchmark::State& state) {
  workload::show_lines(state,
                       [] { benchmark::DoNotOptimize(::write(1, workload::kLine.data(), workload::kLine.size())); });
}
BENCHMARK(print_raw_write)->UseRealTime();

void print_fmt_and_write(benchmark::State& state) {
  const auto [worker, step] = workload::values();
  workload::show_lines(state, [&] {
    const std::string line = fmt::format("worker {} has done step {} ok\n", worker, step);
    benchmark::DoNotOptimize(::write(1, line.data(), line.size()));
  });
}
BENCHMARK(print_fmt_and_write)->UseRealTime();

const bench::Ratio of_fmt{"print_fmt_and_write", "print_raw_write", bench::speed_at_least(0)};

}  // namespace
