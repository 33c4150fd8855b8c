// SPDX-License-Identifier: MIT

#include <cstdio>

#include <fmt/core.h>

#include "print/workload.hpp"
#include "support/bench.hpp"

namespace {

void print_fmt_and_fflush(benchmark::State& state) {
  const auto [worker, step] = workload::values();
  workload::show_lines(state, [&] {
    fmt::print("worker {} has done step {} ok\n", worker, step);
    std::fflush(stdout);
  });
}
BENCHMARK(print_fmt_and_fflush)->UseRealTime();

const bench::Ratio of_fflush{"print_fmt_and_fflush", "print_raw_write", bench::speed_at_least(0)};

}  // namespace
