// SPDX-License-Identifier: MIT

#include "support/bench.hpp"

#include <cstdio>
#include <map>
#include <memory>
#include <utility>

#include <sched.h>
#include <unistd.h>

#include <fmt/core.h>

namespace bench {
namespace {

struct Wanted {
  std::string ours;
  std::string theirs;
  Goal goal;
};

std::vector<Wanted>& wanted() {
  static std::vector<Wanted> ratios;
  return ratios;
}

// The console's table, and the medians kept aside.
class Reporter : public benchmark::ConsoleReporter {
 public:
  Reporter() : ConsoleReporter(::isatty(STDOUT_FILENO) == 1 ? OO_ColorTabular : OO_Tabular) {}

  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<Run> shown;  // median and spread say enough
    for (const Run& run : runs) {
      if (run.run_type != Run::RT_Aggregate || run.aggregate_name == "median" || run.aggregate_name == "cv") {
        shown.push_back(run);
      }
    }
    ConsoleReporter::ReportRuns(shown);
    for (const Run& run : shown) {
      if (run.error_occurred) {
        failed_ = true;
        continue;
      }
      const bool is_median = run.run_type == Run::RT_Aggregate && run.aggregate_name == "median";
      if (!is_median && (run.run_type != Run::RT_Iteration || run.repetitions > 1)) continue;
      medians_[name_of(run)] = run.GetAdjustedRealTime() / benchmark::GetTimeUnitMultiplier(run.time_unit);
    }
  }

  void print_ratios() const {
    bool headed = false;
    for (const auto& [ours, theirs, goal] : wanted()) {
      for (const auto& [name, seconds] : medians_) {
        if (!name.starts_with(ours) || (name.size() > ours.size() && name[ours.size()] != '/')) continue;
        const std::string arguments = name.substr(ours.size());
        const auto other = medians_.find(theirs + arguments);
        if (other == medians_.end()) continue;
        if (!std::exchange(headed, true)) fmt::print("\n{:<72} {:>8}  {}\n", "ratio of medians", "", "goal");
        const double ratio = goal.of_speed ? other->second / seconds : seconds / other->second;
        const bool reached = goal.of_speed ? ratio >= goal.value : ratio <= goal.value;
        fmt::print("{:<72} {:>8.3f}  {} {:.2f}  {}\n",
                   fmt::format("{} / {}{}{}", ours, theirs, arguments, goal.of_speed ? ", speed" : ", time"), ratio,
                   goal.of_speed ? ">=" : "<=", goal.value, reached ? "reached" : "MISSED");
      }
    }
  }

  bool failed() const { return failed_; }

 private:
  // Function and arguments; not "/real_time", "/repeats:7" and the like.
  static std::string name_of(const Run& run) {
    std::string name = run.run_name.function_name;
    if (!run.run_name.args.empty()) name += "/" + run.run_name.args;
    return name;
  }

  std::map<std::string, double> medians_;
  bool failed_ = false;
};

}  // namespace

Ratio::Ratio(std::string ours, std::string theirs, Goal goal) {
  wanted().push_back({std::move(ours), std::move(theirs), goal});
}

bool pin_to(unsigned index) {
  cpu_set_t allowed;
  if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return false;
  std::vector<std::size_t> cpus;
  for (std::size_t cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpus[index % cpus.size()], &one);
  return ::sched_setaffinity(0, sizeof one, &one) == 0;
}

void time_python(benchmark::State& state, const std::string& script, const std::vector<std::string>& args) {
  std::string command = "python3 '" + std::string{MULTIPROC_BENCH_DIR} + "/" + script + "'";
  for (const std::string& arg : args) command += " '" + arg + "'";
  for ([[maybe_unused]] auto _ : state) {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out{::popen(command.c_str(), "re"), &::pclose};
    double seconds = 0;
    if (!out || std::fscanf(out.get(), "%lf", &seconds) != 1 || seconds <= 0) {
      state.SkipWithError(("no time from: " + command).c_str());
      return;
    }
    state.SetIterationTime(seconds);
  }
}

int run(int argc, char** argv) {
  // Taking turns is the rule here; what stands on the command line comes later and wins.
  std::vector<std::string> words{argv[0], "--benchmark_repetitions=7", "--benchmark_enable_random_interleaving=true",
                                 "--benchmark_report_aggregates_only=true", "--benchmark_min_time=0.1"};
  words.insert(words.end(), argv + 1, argv + argc);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);

  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  reporter.print_ratios();
  return reporter.failed() ? 1 : 0;
}

}  // namespace bench
