// SPDX-License-Identifier: MIT

#include <iostream>
#include <syncstream>

#include "print/workload.hpp"
#include "support/bench.hpp"

namespace {

void print_endl(benchmark::State& state) {
  const auto [worker, step] = workload::values();
  workload::show_lines(state,
                       [&] { std::cout << "worker " << worker << " has done step " << step << " ok" << std::endl; });
}
BENCHMARK(print_endl)->UseRealTime();

void print_osyncstream(benchmark::State& state) {
  const auto [worker, step] = workload::values();
  workload::show_lines(state, [&] {
    std::osyncstream(std::cout) << "worker " << worker << " has done step " << step << " ok" << std::endl;
  });
}
BENCHMARK(print_osyncstream)->UseRealTime();

const bench::Ratio of_endl{"print_endl", "print_raw_write", bench::speed_at_least(0)};
const bench::Ratio of_osyncstream{"print_osyncstream", "print_raw_write", bench::speed_at_least(0)};

}  // namespace
