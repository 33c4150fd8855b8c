// SPDX-License-Identifier: MIT
//
// Processes that count together. One is killed in the middle of its change: the change is undone, whoever has the lock
// next is told, and the count is whole.
#include <multiproc/multiproc.hpp>

#include <csignal>
#include <vector>

namespace mp = multiproc;

struct Tally {
  long count = 0;
  long sum = 0;  // 1 + 2 + ... + count, always
};

void count(const mp::Value<Tally>& tally, const mp::Lock& report) {
  for (int i = 0; i < 1000; ++i) {
    tally.with([](Tally& now) { now.sum += ++now.count; });
  }
  if (report.acquire() == mp::Acquired::owner_died) mp::println("the last one to report was killed");
  mp::println("{} has counted", mp::current_process().name());
  report.release();
}

void die_while_counting(const mp::Value<Tally>& tally, const mp::Lock& report) {
  report.acquire();
  tally.with([](Tally& now) {
    ++now.count;
    std::raise(SIGKILL);  // before the sum is right again
  });
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  for (const mp::StartMethod method : mp::get_all_start_methods()) {
    mp::set_start_method(method);
    mp::Value<Tally> tally;
    mp::Lock report;

    mp::Process unlucky{die_while_counting, tally, report};
    unlucky.start();
    unlucky.join();

    std::vector<mp::Process> workers;
    for (int i = 0; i < 4; ++i) workers.emplace_back(count, tally, report);
    for (mp::Process& worker : workers) worker.start();
    for (mp::Process& worker : workers) worker.join();

    const auto [count, sum] = tally.get();
    mp::println("{}: {} counted, the sum is {}", to_string(method), count,
                sum == count * (count + 1) / 2 ? "right" : "wrong");
  }
}
