// SPDX-License-Identifier: MIT
//
// support/bench.hpp: what the benchmarks share: ratios between contenders, goals, pinning, Python's turn.
//
// A workload is a folder, a contender a file in it; all contenders of a workload are one program, so that they take
// turns in one run (seven rounds in random order, medians reported). Absolute times of two runs say little; the ratio
// of two contenders in one run does, so name those that matter once, at file scope:
//
//     BENCHMARK(start_multiproc_fork)->Arg(0)->UseRealTime();
//     BENCHMARK(start_raw_fork)->Arg(0)->UseRealTime();
//     const bench::Ratio fork_goal{"start_multiproc_fork", "start_raw_fork", bench::at_most(1.10)};
//
// After the run each ratio is printed, once for each argument list that both sides have.
#pragma once

#include <string>
#include <vector>

#include <benchmark/benchmark.h>

namespace bench {

/// A goal for (time of ours) / (time of theirs), or for the inverse, (speed of ours) / (speed of theirs).
struct Goal {
  double value = 0;
  bool of_speed = false;
};
constexpr Goal at_most(double time_ratio) {
  return {time_ratio, false};
}
constexpr Goal speed_at_least(double speed_ratio) {
  return {speed_ratio, true};
}

/// Asks for a line "ours / theirs" at the end. Names are those of the benchmarks, without arguments.
class Ratio {
 public:
  Ratio(std::string ours, std::string theirs, Goal goal);
};

/// Keeps the calling thread, and what it starts, on one CPU (by index among those this process may use, modulo their
/// number). False where the system refuses.
bool pin_to(unsigned index);

/// Runs `python3 <script> <args...>`; the script prints one number, the seconds that one operation took. Where there is
/// no python3 the benchmark is skipped and says so. For a benchmark with ->UseManualTime()->Iterations(1).
void time_python(benchmark::State& state, const std::string& script, const std::vector<std::string>& args = {});

/// Runs the benchmarks by those rules, prints the ratios; for main(). Nonzero: wrong arguments, or a wrong answer.
int run(int argc, char** argv);

}  // namespace bench
