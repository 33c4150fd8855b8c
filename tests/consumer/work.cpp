// SPDX-License-Identifier: MIT
//
// What a user of the library writes first: the same is built against the installed package, against the source folder
// and by a bare compiler call, into a program and into a shared library.

#include <cstdio>
#include <vector>

#include <multiproc/multiproc.hpp>
#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/print.hpp>
#include <multiproc/process/process.hpp>

int work(int argc, char** argv);

namespace mp = multiproc;

namespace {

void add_up(const std::vector<int>& numbers, int expected) {
  int sum = 0;
  for (const int number : numbers) sum += number;
  mp::println("the sum is {}", sum);
  if (sum != expected) throw mp::Error("the sum is wrong");
}

}  // namespace

int work(int argc, char** argv) {
  mp::main_guard(argc, argv);

  mp::Process forked{{.name = "forked", .start_method = mp::StartMethod::fork}, add_up, std::vector{1, 2, 3}, 6};
  mp::Process spawned{{.name = "spawned", .start_method = mp::StartMethod::spawn}, add_up, std::vector{4, 5, 6}, 15};
  forked.start();
  spawned.start();
  forked.join();
  spawned.join();

  const bool good = forked.exitcode() == 0 && spawned.exitcode() == 0;
  if (!good)
    std::fprintf(stderr, "exit codes: %d %d\n", forked.exitcode().value_or(-1), spawned.exitcode().value_or(-1));
  return good ? 0 : 1;
}
