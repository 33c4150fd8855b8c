// SPDX-License-Identifier: MIT

#include <string>

#include "bandwidth/workload.hpp"
#include "support/bench.hpp"

namespace {

using bandwidth_bench::kMebi;

void bandwidth_python(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  const std::size_t count = std::max<std::size_t>(4, bandwidth_bench::messages_of(size) / 4);
  bench::time_python(state, "bandwidth/python.py", {"bytes", std::to_string(size), std::to_string(count)});
}
MULTIPROC_BANDWIDTH(bandwidth_python, "bandwidth_python", 64, kMebi, 64 * kMebi);

void objects_python(benchmark::State& state) {
  const std::size_t count = bandwidth_bench::messages_of(64) / 4;
  bench::time_python(state, "bandwidth/python.py", {"objects", "64", std::to_string(count)});
}
MULTIPROC_BANDWIDTH(objects_python, "objects_python", 64);

}  // namespace
