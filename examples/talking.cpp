// SPDX-License-Identifier: MIT
//
// Values through a pipe, as short as can be; the README shows it.

#include <multiproc/multiproc.hpp>

#include <string>
#include <utility>
#include <vector>

namespace mp = multiproc;

void average(const mp::Connection& parent) {
  const auto numbers = parent.recv<std::vector<double>>();
  double sum = 0;
  for (const double number : numbers) sum += number;
  parent.send(sum / static_cast<double>(numbers.size()));
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);
  auto [ours, theirs] = mp::Pipe();
  mp::Process worker{average, std::move(theirs)};
  worker.start();
  ours.send(std::vector<double>{1, 2, 6});
  mp::println("{}", ours.recv<double>());
  try {
    mp::println("{}", ours.recv<std::string>());
  } catch (const mp::EndOfStream&) {
    mp::println("nobody is there any more");  // ended or killed: heard of at once
  }
  worker.join();
}
