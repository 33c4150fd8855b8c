// SPDX-License-Identifier: MIT
//
// write(2) of a line that is ready: the limit. What formatting it by fmt costs. And the same line by the cheapest call
// that raises no SIGPIPE whatever the program does with it, which is what print() has to make.

#include <csignal>

#include <sys/uio.h>
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

constexpr int kNoSignal = 0x100;  // RWF_NOSIGNAL, Linux 6.18

bool knows_no_signal() {
  int ends[2];
  if (::pipe(ends) != 0) return false;
  char byte = 0;
  const iovec part{&byte, 1};
  const bool knows = ::pwritev2(ends[1], &part, 1, -1, kNoSignal) == 1;
  ::close(ends[0]);
  ::close(ends[1]);
  return knows;
}

void print_raw_no_signal(benchmark::State& state) {
  if (knows_no_signal()) {
    workload::show_lines(state, [] {
      const iovec line{const_cast<char*>(workload::kLine.data()), workload::kLine.size()};
      benchmark::DoNotOptimize(::pwritev2(1, &line, 1, -1, kNoSignal));
    });
    return;
  }
  sigset_t broken_pipe;
  ::sigemptyset(&broken_pipe);
  ::sigaddset(&broken_pipe, SIGPIPE);
  workload::show_lines(state, [&] {
    sigset_t before;
    ::pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    benchmark::DoNotOptimize(::write(1, workload::kLine.data(), workload::kLine.size()));
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  });
}
BENCHMARK(print_raw_no_signal)->UseRealTime();

void print_fmt_and_write(benchmark::State& state) {
  const auto [worker, step] = workload::values();
  workload::show_lines(state, [&] {
    const std::string line = fmt::format("worker {} has done step {} ok\n", worker, step);
    benchmark::DoNotOptimize(::write(1, line.data(), line.size()));
  });
}
BENCHMARK(print_fmt_and_write)->UseRealTime();

const bench::Ratio of_no_signal{"print_raw_no_signal", "print_raw_write", bench::speed_at_least(0)};
const bench::Ratio of_fmt{"print_fmt_and_write", "print_raw_write", bench::speed_at_least(0)};

}  // namespace
