// SPDX-License-Identifier: MIT
//
// Start and join of an empty task, from a parent that holds nothing, 256 MiB and 1 GiB of touched memory.
//
// A round is a few milliseconds of each contender, one after the other; the next round goes the other way about. What
// is printed are medians over rounds, and the median of each round's ratios: the machine's moods last longer than a
// round. docs/benchmarks.md says how to run and to read this. The raw contenders' child is this program too, hence the
// first line of main(), and a main() of our own.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <multiproc/process/main_guard.hpp>

#include "process_start/contenders.hpp"
#include "process_start/home.hpp"
#include "support/bench.hpp"

namespace process_start {
namespace {

using Clock = std::chrono::steady_clock;

struct Contender {
  const char* label;
  const char* home;
  const char* name;
};

// In the order of the table. A raw fork stands twice: in a process that never heard of multiproc, which is the floor,
// and in one where multiproc is at work, which shows what its fork handlers cost the other forks of a program.
constexpr std::array kField{
    Contender{"std::thread", "threads", "std_thread"},
    Contender{"raw fork + wait", "raw", "raw_fork"},
    Contender{"raw fork, handlers passed over", "raw", "raw_fork_unhandled"},
    Contender{"multiproc fork", "multiproc", "multiproc_fork"},
    Contender{"raw vfork + exec", "raw", "raw_vfork_exec"},
    Contender{"raw posix_spawn", "raw", "raw_posix_spawn"},
    Contender{"multiproc spawn", "multiproc", "multiproc_spawn"},
    Contender{"Python fork", "python", "python_fork"},
    Contender{"Python forkserver", "python", "python_forkserver"},
    Contender{"Python spawn", "python", "python_spawn"},
};

struct Ratio {
  const char* what;
  const char* to;
  double asked;  // at most; 0: for information
};
constexpr std::array kRatios{
    Ratio{"multiproc fork", "raw fork + wait", 1.10},
    Ratio{"multiproc spawn", "raw posix_spawn", 1.15},
    Ratio{"multiproc fork", "raw fork, handlers passed over", 0},
    Ratio{"raw vfork + exec", "raw posix_spawn", 0},
    Ratio{"std::thread", "raw fork + wait", 0},
    Ratio{"Python fork", "multiproc fork", 0},
    Ratio{"Python spawn", "multiproc spawn", 0},
};

constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::array<const char*, 4> kHomes{"threads", "raw", "multiproc", "python"};
constexpr double kTurn = 0.008;       // seconds that one contender's turn is meant to take
constexpr double kSlow = 3 * kTurn;   // whose single start takes longer ...
constexpr std::size_t kSlowTurn = 5;  // ... starts in each fifth round alone
constexpr int kSittings = 10;         // in fresh homes each: where its memory lies is a process's luck, worth a tenth

struct Plan {
  std::vector<std::size_t> levels{0, 256 * kMiB, 1024 * kMiB};
  double seconds = 12;           // for each level
  std::size_t least_rounds = 2;  // in each sitting
};

std::string size_text(std::size_t bytes) {
  if (bytes == 0) return "nothing";
  return bytes % (1024 * kMiB) == 0 ? fmt::format("{} GiB", bytes / (1024 * kMiB))
                                    : fmt::format("{} MiB", bytes / kMiB);
}

// By label, then by round.
using Times = std::map<std::string, std::map<std::size_t, double>>;

// Google Benchmark times and checks; what it would print a thousand times over is kept for the tables.
class Keeper : public benchmark::BenchmarkReporter {
 public:
  explicit Keeper(Times& times) : times_(times) {}

  void begin_round(std::size_t round) { round_ = round; }
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.error_occurred) {
        fmt::print(stderr, "FAILED: {}: {}\n", run.run_name.function_name, run.error_message);
        failed_ = true;
      } else {
        times_[run.run_name.function_name][round_] =
            run.GetAdjustedRealTime() / benchmark::GetTimeUnitMultiplier(run.time_unit);
      }
    }
  }
  bool failed() const { return failed_; }

 private:
  Times& times_;
  std::size_t round_ = 0;
  bool failed_ = false;
};

void take_turn(benchmark::State& state, Home& home, const char* contender) {
  const auto starts = state.max_iterations;
  while (state.KeepRunningBatch(starts)) {
    try {
      state.SetIterationTime(home.run(contender, static_cast<long>(starts)));
    } catch (const std::exception& error) {
      state.SkipWithError(error.what());
      return;
    }
  }
}

struct Entrant {
  const Contender* contender;
  Home* home;
  long starts;  // in a turn
  bool slow;
};

// Everybody warm, and how many starts fill a turn.
std::vector<Entrant> line_up(std::map<std::string, Home>& homes) {
  std::vector<Entrant> entrants;
  for (const Contender& contender : kField) {
    const auto home = homes.find(contender.home);
    if (home == homes.end()) continue;
    (void)home->second.run(contender.name, 2);
    const double one = home->second.run(contender.name, 1);
    entrants.push_back({&contender, &home->second, std::clamp(static_cast<long>(kTurn / one), 1L, 500L), one > kSlow});
  }
  return entrants;
}

// Goes on counting where the sitting before ended; returns where this one did.
std::size_t run_rounds(std::vector<Entrant> order, const Plan& plan, std::size_t first, Times& times, bool& failed) {
  Keeper keeper(times);
  const auto until = Clock::now() + std::chrono::duration<double>(plan.seconds / kSittings);
  std::size_t round = first;
  for (; round < first + plan.least_rounds || Clock::now() < until; ++round) {
    benchmark::ClearRegisteredBenchmarks();
    for (const Entrant& entrant : order) {
      if (entrant.slow && (round - first) % kSlowTurn != 0) continue;
      benchmark::RegisterBenchmark(entrant.contender->label, take_turn, std::ref(*entrant.home),
                                   entrant.contender->name)
          ->Iterations(entrant.starts)
          ->UseManualTime();
    }
    keeper.begin_round(round);
    const std::size_t ran = benchmark::RunSpecifiedBenchmarks(&keeper);
    if (keeper.failed() || ran == 0) {
      failed = failed || keeper.failed();
      break;
    }
    std::ranges::reverse(order);
  }
  benchmark::ClearRegisteredBenchmarks();
  return round;
}

// The memory that can be had without swapping; 0 where /proc does not say.
std::size_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string key; info >> key;) {
    std::size_t kib = 0;
    if (key == "MemAvailable:" && info >> kib) return kib * 1024;
    info.ignore(256, '\n');
  }
  return 0;
}

Times run_level(std::size_t bytes, const Plan& plan, bool& failed) {
  Times times;
  const std::size_t needed = kHomes.size() * bytes + 512 * kMiB;
  if (bytes > 0 && available_memory() < needed) {
    fmt::print("left out: parents that hold {}: {} of memory are needed\n", size_text(bytes), size_text(needed));
    return times;
  }
  std::size_t rounds = 0;
  for (int sitting = 0; sitting < kSittings && !failed; ++sitting) {
    std::map<std::string, Home> homes;
    for (const char* name : kHomes) homes.try_emplace(name, name, bytes);
    for (auto home = homes.begin(); home != homes.end();) {
      const auto missing = home->second.settle();
      if (missing && sitting == 0) fmt::print("left out: {}: {}\n", home->first, *missing);
      home = missing ? homes.erase(home) : std::next(home);
    }
    rounds = run_rounds(line_up(homes), plan, rounds, times, failed);
  }
  fmt::print("parents that hold {}: {} rounds\n", size_text(bytes), rounds);
  std::fflush(stdout);
  return times;
}

double quantile(std::vector<double> values, double q) {
  const auto at = static_cast<std::ptrdiff_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  std::ranges::nth_element(values, values.begin() + at);
  return values[static_cast<std::size_t>(at)];
}

std::vector<double> times_of(const Times& times, const char* label) {
  std::vector<double> values;
  if (const auto at = times.find(label); at != times.end()) {
    for (const auto& [round, seconds] : at->second) values.push_back(seconds);
  }
  return values;
}

// Round by round, of the rounds that both took part in.
std::vector<double> ratios_of(const Times& times, const Ratio& ratio) {
  std::vector<double> values;
  const auto what = times.find(ratio.what);
  const auto to = times.find(ratio.to);
  if (what == times.end() || to == times.end()) return values;
  for (const auto& [round, seconds] : what->second) {
    if (const auto other = to->second.find(round); other != to->second.end()) values.push_back(seconds / other->second);
  }
  return values;
}

void print_tables(const std::vector<std::size_t>& levels, const std::vector<Times>& results) {
  fmt::print("\n{:<46}", "start and join, microseconds; parent holds");
  for (const std::size_t level : levels) fmt::print("{:>12}", size_text(level));
  fmt::print("\n");
  for (const Contender& contender : kField) {
    fmt::print("{:<46}", contender.label);
    for (const Times& times : results) {
      const auto values = times_of(times, contender.label);
      fmt::print("{:>12}", values.empty() ? "-" : fmt::format("{:.1f}", quantile(values, 0.5) * 1e6));
    }
    fmt::print("\n");
  }

  fmt::print("\nratio, median of the rounds (and their middle half)\n");
  for (const Ratio& ratio : kRatios) {
    for (std::size_t i = 0; i < results.size(); ++i) {
      const auto values = ratios_of(results[i], ratio);
      if (values.empty()) continue;
      const double median = quantile(values, 0.5);
      std::string verdict;
      if (ratio.asked > 0) {
        verdict = fmt::format("  (asked <= {:.2f}{})", ratio.asked, median <= ratio.asked ? "" : ": MISSED");
      }
      fmt::print("{:<46}{:>12}{:>9.3f}  ({:.3f} to {:.3f}){}\n", fmt::format("{} / {}", ratio.what, ratio.to),
                 size_text(levels[i]), median, quantile(values, 0.25), quantile(values, 0.75), verdict);
    }
  }
}

// Takes our own options out of the arguments; the rest is Google Benchmark's.
Plan take_options(int& argc, char** argv) {
  Plan plan;
  const auto quick = [&plan] { plan = {.levels = {0, 8 * kMiB}, .seconds = 0}; };
  if (bench::is_quick()) quick();
  int kept = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--quick") {
      quick();
    } else if (word.starts_with("--seconds=")) {
      plan.seconds = std::atof(argv[i] + word.find('=') + 1);
    } else if (word.starts_with("--mebibytes=")) {
      plan.levels.clear();
      for (const char* at = argv[i] + word.find('='); at != nullptr && *at != '\0'; at = std::strchr(at, ',')) {
        plan.levels.push_back(std::strtoull(++at, nullptr, 10) * kMiB);
      }
    } else {
      argv[kept++] = argv[i];
    }
  }
  argc = kept;
  argv[kept] = nullptr;
  return plan;
}

int race(int argc, char** argv) {
  const Plan plan = take_options(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    fmt::print(stderr,
               "Beside Google Benchmark's: --quick, --seconds=<of each level>, --mebibytes=<held>[,<held>...]\n");
    return 2;
  }
  bool failed = false;
  std::vector<Times> results;
  for (const std::size_t level : plan.levels) results.push_back(run_level(level, plan, failed));
  print_tables(plan.levels, results);
  return failed ? 1 : 0;
}

}  // namespace
}  // namespace process_start

int main(int argc, char** argv) {
  if (argc == 2 && argv[1] == std::string_view(process_start::kEndAtOnce)) return 0;
  multiproc::main_guard(argc, argv);
  int exit_code = 0;
  if (process_start::live_at_home(argc, argv, exit_code)) return exit_code;
  try {
    return process_start::race(argc, argv);
  } catch (const std::exception& error) {
    fmt::print(stderr, "FAILED: {}\n", error.what());
    return 1;
  }
}
