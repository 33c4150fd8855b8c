// SPDX-License-Identifier: MIT
//
// support/bench.hpp: what the benchmarks share: ratios between contenders, goals, Python's turn, a quick mode.
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
  double value = 0;  // 0: there is none
  bool of_speed = false;
};
constexpr Goal at_most(double time_ratio) {
  return {time_ratio, false};
}
constexpr Goal speed_at_least(double speed_ratio) {
  return {speed_ratio, true};
}
/// For information: the ratio of speeds, without a goal.
constexpr Goal speed() {
  return {0, true};
}

/// Asks for a line "ours / theirs" at the end. Names are those of the benchmarks, without arguments.
class Ratio {
 public:
  Ratio(std::string ours, std::string theirs, Goal goal);
};

/// Whether MULTIPROC_BENCH_QUICK stands in the environment: everything tiny, to see that it works and answers rightly.
bool is_quick();

/// The folder bench/ of the sources, where the scripts lie.
std::string folder();

/// "", or why Python takes no part: there is no python3, or it is older than 3.8. Looked up once.
const std::string& why_no_python();

/// Runs `python3 <script> <args...>`; the script prints one number, the seconds that one operation took. Where Python
/// can't take part the benchmark is left out, with a note. For a benchmark with ->UseManualTime()->Iterations(1).
void time_python(benchmark::State& state, const std::string& script, const std::vector<std::string>& args = {});

/// Runs the benchmarks by those rules, prints the ratios; for main(). Nonzero: wrong arguments, or a wrong answer.
int run(int argc, char** argv);

}  // namespace bench
