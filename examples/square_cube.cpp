// SPDX-License-Identifier: MIT
//
// Two functions that take their time, each in a process of its own: 7.5 seconds instead of 12.5.
#include <multiproc/multiproc.hpp>

#include <chrono>
#include <map>
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

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  CLI::App app{"Squares and cubes, by two processes at once"};
  bool sequential = false, threads = false, cpu = false;
  double scale = 1;
  mp::ProcessOptions options;
  const std::map<std::string, mp::StartMethod> methods{{"fork", mp::StartMethod::fork},
                                                       {"spawn", mp::StartMethod::spawn}};
  app.add_flag("--sequential", sequential, "one after the other, in this process");
  app.add_flag("--threads", threads, "by two threads of this process")->excludes("--sequential");
  app.add_flag("--cpu", cpu, "compute instead of sleeping");
  app.add_option("--start-method", options.start_method, "how the processes are made: fork or spawn")
      ->transform(CLI::CheckedTransformer(methods));
  app.add_option("--scale", scale, "length of all steps: 0.1 is ten times as fast")
      ->check(CLI::Range(0.001, 1000.0))
      ->check([](const std::string& text) { return text.find("nan") == std::string::npos ? "" : "not a number"; });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }

  const double speed = cpu ? measure_rounds_per_second() : 0;
  const auto began = std::chrono::steady_clock::now();
  if (sequential) {
    square_numbers(scale, speed);
    cube_numbers(scale, speed);
  } else if (threads) {
    std::thread square{square_numbers, scale, speed}, cube{cube_numbers, scale, speed};
    square.join();
    cube.join();
  } else {
    mp::Process square{options, square_numbers, scale, speed}, cube{options, cube_numbers, scale, speed};
    square.start();
    cube.start();
    square.join();
    cube.join();
  }
  mp::println("Total execution time: {:.2f} seconds", Seconds(std::chrono::steady_clock::now() - began).count());
}
