// SPDX-License-Identifier: MIT
//
// One CPU-bound job, counting the primes below n: by one process, by threads, and by processes. Processes bring what
// threads bring, and a crash in one of them would stay its own.
//
// The processes write their counts to memory that was mapped before they were forked, which is all the sharing that
// this job needs.
#include <multiproc/multiproc.hpp>
#include <multiproc/os/memory.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <span>
#include <thread>
#include <vector>

#include <CLI/CLI.hpp>

namespace mp = multiproc;

bool is_prime(long n) {
  for (long d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return n >= 2;
}

// The share of worker `mine` out of `workers`: every workers-th thousand, so that all have the same to do. (Every
// workers-th number would not do: of two workers one would get the even ones, where there is nothing to do.)
void count_share(long limit, unsigned mine, unsigned workers, long* count) {
  long found = 0;
  for (long first = 1000L * mine; first < limit; first += 1000L * workers) {
    for (long n = first; n < std::min(first + 1000, limit); ++n) found += is_prime(n);
  }
  *count = found;
}

struct Row {
  const char* by;
  double seconds;
  long primes;
};

Row measure(const char* by, std::span<long> counts, const std::function<void()>& job) {
  for (long& count : counts) count = 0;
  const auto began = std::chrono::steady_clock::now();
  job();
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
  long primes = 0;
  for (const long count : counts) primes += count;
  return {by, took.count(), primes};
}

int main(int argc, char** argv) try {
  mp::main_guard(argc, argv);

  long limit = 3'000'000;
  unsigned workers = mp::cpu_count();
  CLI::App app{"Counting primes by one process, by threads and by processes"};
  app.add_option("-n,--limit", limit, "count the primes below this")->check(CLI::Range(2L, 1'000'000'000L));
  app.add_option("-w,--workers", workers, "threads, and processes")->check(CLI::Range(1U, 1024U));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  // A cache line for each worker's count would be the next step; each is written once, so that here none is needed.
  const mp::os::Mapping memory = mp::os::map_inheritable(workers * sizeof(long)).or_throw("the counts");
  const std::span counts(reinterpret_cast<long*>(memory.bytes().data()), workers);

  std::vector<Row> rows;
  rows.push_back(measure("one process", counts, [&] { count_share(limit, 0, 1, &counts[0]); }));
  rows.push_back(measure("processes", counts, [&] {
    std::vector<mp::Process> processes;
    for (unsigned i = 0; i < workers; ++i) processes.emplace_back(count_share, limit, i, workers, &counts[i]);
    for (mp::Process& process : processes) process.start();
    for (mp::Process& process : processes) process.join();
  }));
  rows.push_back(measure("threads", counts, [&] {
    std::vector<std::jthread> threads;
    for (unsigned i = 0; i < workers; ++i) threads.emplace_back(count_share, limit, i, workers, &counts[i]);
  }));

  mp::println("{} workers, primes below {}", workers, limit);
  mp::println("{:<12} {:>9} {:>9} {:>10}", "by", "seconds", "speed-up", "primes");
  for (const Row& row : rows) {
    mp::println("{:<12} {:>9.3f} {:>8.2f}x {:>10}", row.by, row.seconds, rows[0].seconds / row.seconds, row.primes);
    if (row.primes != rows[0].primes) return 1;
  }
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
