// SPDX-License-Identifier: MIT
//
// Two functions that take their time, each in a process of its own: 7.5 seconds instead of 12.5.
#include <multiproc/multiproc.hpp>

#include <chrono>
#include <cstdio>
#include <future>
#include <string>
#include <thread>

#include <CLI/CLI.hpp>

namespace mp = multiproc;
using Seconds = std::chrono::duration<double>;

// Counts the primes below `limit`, the slow way: something to compute, which no compiler may leave out.
int count_primes(int limit) {
  volatile int count = 0;
  for (int n = 2; n < limit; ++n) {
    bool prime = true;
    for (int d = 2; d * d <= n && prime; ++d) prime = n % d != 0;
    count = count + prime;
  }
  return count;
}

// One step takes a while: asleep, or computing where it was measured how fast that goes.
void step(double seconds, double rounds_per_second) {
  if (rounds_per_second == 0) return std::this_thread::sleep_for(Seconds(seconds));
  for (double left = seconds * rounds_per_second; left >= 1; --left) count_primes(1000);
}

void square_numbers(double scale, double speed) {
  for (int i = 0; i < 5; ++i) {
    step(1.0 * scale, speed);
    mp::println("Square: {}", i * i);
  }
}

void cube_numbers(double scale, double speed) {
  for (int i = 0; i < 5; ++i) {
    step(1.5 * scale, speed);
    mp::println("Cube: {}", i * i * i);
  }
}

double measure_rounds_per_second() {
  const auto began = std::chrono::steady_clock::now();
  for (int i = 0; i < 20000; ++i) count_primes(1000);
  return 20000 / Seconds(std::chrono::steady_clock::now() - began).count();
}

int main(int argc, char** argv) try {
  mp::main_guard(argc, argv);

  CLI::App app{"Squares and cubes, by two processes at once"};
  bool sequential = false, threads = false, cpu = false;
  double scale = 1;
  std::string method;
  app.add_flag("--sequential", sequential, "one after the other, in this process");
  app.add_flag("--threads", threads, "by two threads of this process")->excludes("--sequential");
  app.add_flag("--cpu", cpu, "compute instead of sleeping");
  app.add_option("--start-method", method, "how the processes are made")
      ->check(CLI::IsMember({"fork", "spawn"}))
      ->excludes("--sequential")
      ->excludes("--threads");
  app.add_option("--scale", scale, "length of all steps, from 0.001 to 1000: 0.1 is ten times as fast");
  try {
    app.parse(argc, argv);
    if (!(scale >= 0.001 && scale <= 1000)) throw CLI::ValidationError("--scale", "not between 0.001 and 1000");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  const double speed = cpu ? measure_rounds_per_second() : 0;
  const auto began = std::chrono::steady_clock::now();
  if (sequential) {
    square_numbers(scale, speed);
    cube_numbers(scale, speed);
  } else if (threads) {
    auto square = std::async(std::launch::async, square_numbers, scale, speed);
    auto cube = std::async(std::launch::async, cube_numbers, scale, speed);
    square.get();
    cube.get();
  } else {
    mp::ProcessOptions options;
    if (!method.empty()) options.start_method = method == "fork" ? mp::StartMethod::fork : mp::StartMethod::spawn;
    mp::Process square{options, square_numbers, scale, speed}, cube{options, cube_numbers, scale, speed};
    square.start();
    cube.start();
    square.join();
    cube.join();
    if (square.exitcode() != 0 || cube.exitcode() != 0) return 1;  // the child has said why
  }
  mp::println("Total execution time: {:.2f} seconds", Seconds(std::chrono::steady_clock::now() - began).count());
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
