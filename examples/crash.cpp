// SPDX-License-Identifier: MIT
//
// A bad day: one function runs into a null pointer, one throws, one runs out of memory. Each in a process of its own,
// so that the program learns what happened and goes on.
#include <multiproc/multiproc.hpp>

#include <csignal>
#include <stdexcept>
#include <vector>

namespace mp = multiproc;

void crash() {
  std::raise(SIGSEGV);
}

void fail() {
  throw std::runtime_error("no such book");
}

// Takes memory until there is no more: with a limit of its own, it is the only one to suffer.
void hoard() {
  std::vector<std::vector<char>> all;
  while (true) all.emplace_back(16 << 20, 'x');
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  std::vector<mp::Process> processes;
  processes.emplace_back(mp::ProcessOptions{.name = "crash"}, crash);
  processes.emplace_back(mp::ProcessOptions{.name = "fail"}, fail);
  processes.emplace_back(mp::ProcessOptions{.name = "hoard", .limits = {.memory_bytes = 512 << 20}}, hoard);
  for (mp::Process& process : processes) process.start();
  for (mp::Process& process : processes) {
    process.join();
    mp::println("{}: {}", process.name(), process.exit_status()->describe());
  }
  mp::println("the program goes on");
}
