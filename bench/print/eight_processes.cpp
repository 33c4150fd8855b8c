// SPDX-License-Identifier: MIT
//
// Eight processes that print into one pipe at once; time is per line. Short lines by println and by bare write(2), and
// short lines with one of 100 KiB among each thousand, which a bare write(2) would tear. The reader looks at every
// line: one that is not as its printer made it, is missing, or comes twice, fails the run.

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include <multiproc/process/print.hpp>

#include "print/workload.hpp"
#include "support/bench.hpp"

namespace {

constexpr std::size_t kPrinters = 8;
constexpr std::size_t kShort = 16;
constexpr std::size_t kLong = 100 * 1024;

std::size_t lines_of_each() {
  return bench::is_quick() ? 1000 : 4000;
}

char filler_of(std::size_t printer) {
  return static_cast<char>('a' + printer);
}

// "printer number filling"; the length of the filling follows from the number.
std::size_t filling_of(std::size_t number, bool mixed) {
  return mixed && number % 1000 == 500 ? kLong : kShort;
}

std::string read_to_the_end(int from) {
  std::string text;
  std::array<char, 65536> buffer;
  for (ssize_t got = 0; (got = ::read(from, buffer.data(), buffer.size())) != 0;) {
    if (got > 0) text.append(buffer.data(), static_cast<std::size_t>(got));
  }
  return text;
}

// "" or what is wrong. A printer's lines come in its order.
std::string judge(std::string_view text, bool mixed) {
  std::array<std::size_t, kPrinters> next{};
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    std::size_t printer = kPrinters;
    std::from_chars(line.data(), line.data() + line.size(), printer);
    if (printer >= kPrinters) return fmt::format("torn: {}", line.substr(0, 60));
    const std::size_t number = next[printer]++;
    const std::string filling(filling_of(number, mixed), filler_of(printer));
    if (line != fmt::format("{} {} {}", printer, number, filling)) return fmt::format("torn: {}", line.substr(0, 60));
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
  for (const std::size_t came : next) {
    if (came != lines_of_each()) return fmt::format("{} lines of {} came", came, lines_of_each());
  }
  return {};
}

template <class Show>
void print_together(benchmark::State& state, bool mixed, Show show) {
  for ([[maybe_unused]] auto _ : state) {
    int lines[2];
    int start[2];
    if (::pipe2(lines, O_CLOEXEC) != 0 || ::pipe2(start, O_CLOEXEC) != 0) return state.SkipWithError("pipe2");
    const std::size_t count = lines_of_each();
    std::vector<pid_t> printers;
    for (std::size_t printer = 0; printer < kPrinters; ++printer) {
      const pid_t child = ::fork();
      if (child < 0) break;
      if (child == 0) {
        ::dup2(lines[1], 1);
        ::close(start[1]);
        char byte = 0;
        (void)!::read(start[0], &byte, 1);  // until the starting pipe closes
        const std::string filling(kShort, filler_of(printer));
        const std::string much(kLong, filler_of(printer));
        for (std::size_t number = 0; number < count; ++number) {
          show(printer, number, filling_of(number, mixed) == kLong ? much : filling);
        }
        ::_exit(0);
      }
      printers.push_back(child);
    }
    ::close(lines[1]);
    ::close(start[0]);
    const auto began = std::chrono::steady_clock::now();
    ::close(start[1]);
    const std::string text = read_to_the_end(lines[0]);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    ::close(lines[0]);
    for (const pid_t printer : printers) ::waitpid(printer, nullptr, 0);
    if (printers.size() < kPrinters) return state.SkipWithError("fork");
    state.SetIterationTime(took.count() / static_cast<double>(kPrinters * count));
    if (const std::string wrong = judge(text, mixed); !wrong.empty()) state.SkipWithError(wrong.c_str());
  }
  state.counters["lines/s"] = benchmark::Counter(1, benchmark::Counter::kIsRate);
}

void eight_print_multiproc(benchmark::State& state) {
  print_together(state, false, [](std::size_t printer, std::size_t number, const std::string& filling) {
    multiproc::println("{} {} {}", printer, number, filling);
  });
}
BENCHMARK(eight_print_multiproc)->UseManualTime()->Iterations(1);

void eight_print_raw_write(benchmark::State& state) {
  print_together(state, false, [](std::size_t printer, std::size_t number, const std::string& filling) {
    const std::string line = fmt::format("{} {} {}\n", printer, number, filling);
    (void)!::write(1, line.data(), line.size());
  });
}
BENCHMARK(eight_print_raw_write)->UseManualTime()->Iterations(1);

void eight_print_multiproc_mixed(benchmark::State& state) {
  print_together(state, true, [](std::size_t printer, std::size_t number, const std::string& filling) {
    multiproc::println("{} {} {}", printer, number, filling);
  });
}
BENCHMARK(eight_print_multiproc_mixed)->UseManualTime()->Iterations(1);

const bench::Ratio of_eight{"eight_print_multiproc", "eight_print_raw_write", bench::speed()};

}  // namespace
