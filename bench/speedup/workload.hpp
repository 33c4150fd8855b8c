// SPDX-License-Identifier: MIT
//
// speedup/workload.hpp: the primes below n, counted by trial division: nothing but computing, hardly any memory.
//
// Worker `mine` of `workers` looks at every workers-th thousand, so that all have the same to do. (Every workers-th odd
// number would not do: of three workers one would get the multiples of three.) The count is known beforehand, and a
// wrong one fails the run.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include <benchmark/benchmark.h>

namespace speedup {

struct Job {
  long limit = 0;
  long primes = 0;  // below limit
};

/// What is counted: half a second of work for one CPU; MULTIPROC_BENCH_QUICK in the environment: next to nothing.
Job job();

/// The same for Python, which is slower by a factor of thirty or so.
Job python_job();

/// As many as there are CPUs for this process.
unsigned worker_count();

/// The primes that fall to one worker.
long count_share(long limit, unsigned mine, unsigned workers);

/// Fails the run where the counts don't add up.
void check(benchmark::State& state, std::span<const long> counts);

/// Iterations, repetitions, clock: the same for all.
void rules(benchmark::internal::Benchmark* contender);

}  // namespace speedup
