// SPDX-License-Identifier: MIT

#include "speedup/workload.hpp"

#include <algorithm>
#include <numeric>

#include <multiproc/process/this_process.hpp>

#include "support/bench.hpp"

namespace speedup {

namespace {

constexpr long kBlock = 1000;  // numbers; even, so that a block begins with an even one

bool is_odd_prime(long n) {
  for (long d = 3; d * d <= n; d += 2) {
    if (n % d == 0) return false;
  }
  return true;
}

// Processes bring what threads bring; the others for information.
const bench::Ratio ours_by_fork{"primes_multiproc_fork", "primes_std_thread", bench::speed_at_least(0.98)};
const bench::Ratio ours_by_spawn{"primes_multiproc_spawn", "primes_std_thread", bench::speed_at_least(0.98)};
const bench::Ratio speedup_of_threads{"primes_std_thread", "primes_serial", bench::speed()};
const bench::Ratio speedup_by_fork{"primes_multiproc_fork", "primes_serial", bench::speed()};
const bench::Ratio speedup_by_spawn{"primes_multiproc_spawn", "primes_serial", bench::speed()};
const bench::Ratio speedup_of_python{"primes_python_pool", "primes_python_serial", bench::speed()};

}  // namespace

Job job() {
  return bench::is_quick() ? Job{10'000, 1'229} : Job{4'000'000, 283'146};
}

Job python_job() {
  return bench::is_quick() ? Job{1'000, 168} : Job{200'000, 17'984};
}

unsigned worker_count() {
  return multiproc::cpu_count();
}

long count_share(long limit, unsigned mine, unsigned workers) {
  long found = mine == 0 && limit > 2 ? 1 : 0;  // 2 itself
  for (long first = kBlock * mine; first < limit; first += kBlock * workers) {
    const long end = std::min(first + kBlock, limit);
    for (long n = std::max(first + 1, 3L); n < end; n += 2) found += is_odd_prime(n) ? 1 : 0;
  }
  return found;
}

void check(benchmark::State& state, std::span<const long> counts) {
  if (std::accumulate(counts.begin(), counts.end(), 0L) != job().primes)
    state.SkipWithError("a wrong number of primes");
}

void rules(benchmark::internal::Benchmark* contender) {
  contender->Iterations(1)->Repetitions(bench::is_quick() ? 2 : 11)->Unit(benchmark::kMillisecond);
}

}  // namespace speedup
