// SPDX-License-Identifier: MIT

#include "support/bench.hpp"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include <sys/wait.h>
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

// How the message of a contender begins that can't take part here, which is no failure.
const std::string kLeftOut = "left out: ";

// The console's table, and the medians kept aside.
class Reporter : public benchmark::ConsoleReporter {
 public:
  Reporter() : ConsoleReporter(::isatty(STDOUT_FILENO) == 1 ? OO_ColorTabular : OO_Tabular) {}

  void ReportRuns(const std::vector<Run>& runs) override {
    std::vector<Run> shown;  // median and spread say enough, but each error counts
    for (const Run& run : runs) {
      if (run.error_occurred && run.error_message.starts_with(kLeftOut)) {
        left_out_.insert(name_of(run) + " (" + run.error_message.substr(kLeftOut.size()) + ")");
        continue;
      }
      failed_ = failed_ || run.error_occurred;
      const bool is_median = run.run_type == Run::RT_Aggregate && run.aggregate_name == "median";
      const bool is_only_one = run.run_type == Run::RT_Iteration && run.repetitions <= 1;
      if (run.error_occurred || is_median || is_only_one || run.aggregate_name == "cv") shown.push_back(run);
      if (!run.error_occurred && (is_median || is_only_one)) {
        medians_[name_of(run)] = run.GetAdjustedRealTime() / benchmark::GetTimeUnitMultiplier(run.time_unit);
      }
    }
    ConsoleReporter::ReportRuns(shown);
  }

  void print_left_out() const {
    for (const std::string& name : left_out_) fmt::print("left out: {}\n", name);
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
        std::string verdict;
        if (goal.value > 0) {
          verdict =
              fmt::format("  {} {:.2f}  {}", goal.of_speed ? ">=" : "<=", goal.value, reached ? "reached" : "MISSED");
        }
        fmt::print("{:<72} {:>8.3f}{}\n",
                   fmt::format("{} / {}{}{}", ours, theirs, arguments, goal.of_speed ? ", speed" : ", time"), ratio,
                   verdict);
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
  std::set<std::string> left_out_;
  bool failed_ = false;
};

}  // namespace

Ratio::Ratio(std::string ours, std::string theirs, Goal goal) {
  wanted().push_back({std::move(ours), std::move(theirs), goal});
}

bool is_quick() {
  return std::getenv("MULTIPROC_BENCH_QUICK") != nullptr;
}

std::string folder() {
  return MULTIPROC_BENCH_DIR;
}

const std::string& why_no_python() {
  static const std::string why = [] {
    // The shell's answer: 127 where there is no such program.
    const int status = std::system("python3 -c 'import sys; sys.exit(sys.version_info < (3, 8))' >/dev/null 2>&1");
    if (status == 0) return std::string();
    return std::string(WIFEXITED(status) && WEXITSTATUS(status) == 1 ? "python3 is older than 3.8" : "no python3");
  }();
  return why;
}

void time_python(benchmark::State& state, const std::string& script, const std::vector<std::string>& args) {
  if (!why_no_python().empty()) return state.SkipWithError((kLeftOut + why_no_python()).c_str());
  std::string command = "python3 '" + folder() + "/" + script + "'";
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
                                 "--benchmark_min_time=0.1"};
  if (is_quick()) words.insert(words.end(), {"--benchmark_repetitions=1", "--benchmark_min_time=0.001"});
  words.insert(words.end(), argv + 1, argv + argc);
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  int count = static_cast<int>(arguments.size());
  arguments.push_back(nullptr);

  benchmark::Initialize(&count, arguments.data());
  if (benchmark::ReportUnrecognizedArguments(count, arguments.data())) return 2;
  Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter);
  reporter.print_left_out();
  reporter.print_ratios();
  return reporter.failed() ? 1 : 0;
}

}  // namespace bench
