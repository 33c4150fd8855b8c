// SPDX-License-Identifier: MIT
//
// Ours, from nothing to the answer: within the time the processes are started, count, and end. By fork the counts come
// home through memory that was mapped before; by spawn, too, but the memory travels, as a descriptor in an argument.

#include <multiproc/process/process.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <multiproc/ipc/encode.hpp>
#include <multiproc/os/fd.hpp>
#include <multiproc/os/memory.hpp>

#include "speedup/workload.hpp"

namespace {

namespace os = multiproc::os;
using multiproc::Process;
using multiproc::ProcessOptions;
using multiproc::StartMethod;

// One number for each worker, in memory whose handle travels.
class Counts {
 public:
  Counts() = default;
  explicit Counts(unsigned workers)
      : memory_(os::make_memory("counts", workers * sizeof(long)).or_throw("counts")), size_(workers) {}

  /// Another handle to the same numbers.
  Counts share() const {
    Counts other;
    other.memory_ = memory_.duplicate().or_throw("counts");
    other.size_ = size_;
    return other;
  }

  std::span<long> open() {
    mapping_ = os::map_shared(memory_.get(), size_ * sizeof(long)).or_throw("counts");
    return {reinterpret_cast<long*>(mapping_.bytes().data()), size_};
  }

 private:
  friend multiproc::Travel<Counts>;

  os::Fd memory_;
  os::Mapping mapping_;
  std::size_t size_ = 0;
};

}  // namespace

template <>
struct multiproc::Travel<Counts> {
  static void encode(Encoder& to, const Counts& counts) {
    to(counts.size_);
    to.attach(counts.memory_.duplicate().or_throw("counts"));
  }
  static Counts decode(Decoder& from) {
    Counts counts;
    counts.size_ = from.read<std::size_t>();
    counts.memory_ = from.take_fd();
    return counts;
  }
};

namespace {

void join_all(benchmark::State& state, std::vector<Process>& processes) {
  for (Process& process : processes) process.join();
  for (const Process& process : processes) {
    if (process.exitcode() != 0) state.SkipWithError(process.exit_status()->describe().c_str());
  }
}

void primes_multiproc_fork(benchmark::State& state) {
  const unsigned workers = speedup::worker_count();
  const long limit = speedup::job().limit;
  for ([[maybe_unused]] auto _ : state) {
    const os::Mapping memory = os::map_inheritable(workers * sizeof(long)).or_throw("counts");
    const std::span counts(reinterpret_cast<long*>(memory.bytes().data()), workers);
    std::vector<Process> processes;
    for (unsigned i = 0; i < workers; ++i) {
      processes.emplace_back(ProcessOptions{.start_method = StartMethod::fork},
                             [counts, limit, workers, i] { counts[i] = speedup::count_share(limit, i, workers); });
    }
    for (Process& process : processes) process.start();
    join_all(state, processes);
    speedup::check(state, counts);
  }
}
BENCHMARK(primes_multiproc_fork)->Apply(speedup::rules)->UseRealTime();

void primes_multiproc_spawn(benchmark::State& state) {
  const unsigned workers = speedup::worker_count();
  const long limit = speedup::job().limit;
  for ([[maybe_unused]] auto _ : state) {
    Counts memory(workers);
    const std::span<long> counts = memory.open();
    std::vector<Process> processes;
    for (unsigned i = 0; i < workers; ++i) {
      processes.push_back(Process::spawned(
          {},
          [](Counts theirs, long below, unsigned all, unsigned mine) {
            theirs.open()[mine] = speedup::count_share(below, mine, all);
          },
          memory.share(), limit, workers, i));
    }
    for (Process& process : processes) process.start();
    join_all(state, processes);
    speedup::check(state, counts);
  }
}
BENCHMARK(primes_multiproc_spawn)->Apply(speedup::rules)->UseRealTime();

}  // namespace
