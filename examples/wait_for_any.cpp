// SPDX-License-Identifier: MIT
//
// Whoever is first: three workers report when they like, one of them is killed, and nobody is waited for in vain.
#include <multiproc/multiproc.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace mp = multiproc;
using namespace std::chrono_literals;

void report(const mp::Connection& boss, int number) {
  if (number == 1) std::this_thread::sleep_for(1h);
  boss.send("worker " + std::to_string(number) + " is done");
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  std::vector<mp::Process> workers;
  std::vector<mp::Connection> reports;
  for (int i = 0; i < 3; ++i) {
    auto [ours, theirs] = mp::Pipe(false);  // one way: the first receives
    workers.emplace_back(report, std::move(theirs), i);
    workers.back().start();
    reports.push_back(std::move(ours));
  }
  std::thread accident([&] { workers[1].kill(); });

  std::size_t open = reports.size();
  while (open > 0) {
    std::vector<mp::Waitable> all;
    std::vector<std::size_t> whose;
    for (std::size_t i = 0; i < reports.size(); ++i) {
      if (reports[i].closed()) continue;
      all.emplace_back(reports[i]);
      whose.push_back(i);
    }
    for (const std::size_t ready : mp::wait(all)) {
      mp::Connection& connection = reports[whose[ready]];
      try {
        mp::println("{}", connection.recv<std::string>());
      } catch (const mp::EndOfStream&) {
        connection.close();
        --open;
      }
    }
  }

  accident.join();
  for (mp::Process& worker : workers) {
    worker.join();
    mp::println("{}: {}", worker.name(), worker.exit_status()->describe());
  }
}
