// SPDX-License-Identifier: MIT
//
// bench/print/workload.hpp: one line, shown at once, to a reader at the other end of a pipe.
//
// Every contender shows the same 35 bytes. The reader is a process of its own that takes what comes, compares each byte
// and counts the lines; a wrong one, or a line too many or too few, fails the run.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <sys/types.h>

#include <benchmark/benchmark.h>

namespace workload {

inline constexpr std::string_view kLine = "worker 123 has done step 123456 ok\n";

/// What the contenders that format put into "worker {} has done step {} ok".
struct Values {
  int worker = 123;
  int step = 123456;
};

/// The values, in a way that the compiler can't foresee.
inline Values values() {
  Values values;
  benchmark::DoNotOptimize(values);
  return values;
}

/// While it lives descriptor 1 leads to a reader that checks.
class Reader {
 public:
  Reader();
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  /// Gives descriptor 1 back and asks the reader: "" when exactly `lines` right lines came.
  std::string verdict(std::int64_t lines);

 private:
  void give_back();

  int stdout_before_ = -1;
  int verdict_ = -1;
  pid_t reader_ = -1;
};

/// The body of a benchmark: shows a line in each iteration and has them checked.
template <class Show>
void show_lines(benchmark::State& state, Show show) {
  std::string wrong;
  {
    Reader reader;
    for ([[maybe_unused]] auto _ : state) show();
    wrong = reader.verdict(state.iterations());
  }
  if (!wrong.empty()) state.SkipWithError(wrong.c_str());
  state.SetItemsProcessed(state.iterations());
}

}  // namespace workload
