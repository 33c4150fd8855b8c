// SPDX-License-Identifier: MIT
//
// Shared memory and a lock, as short as can be; the README shows it.

#include <multiproc/multiproc.hpp>

#include <mutex>

namespace mp = multiproc;

void count(const mp::Value<int>& hits, const mp::Lock& turn) {
  for (int i = 0; i < 1000; ++i) hits.with([](int& n) { ++n; });  // killed in it: as if it had not begun
  const std::scoped_lock mine(turn);                              // one at a time, of all threads and processes
  mp::println("{} has counted:", mp::current_process().name());
  mp::println("{} by now", hits.get());
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);
  mp::Value<int> hits;
  mp::Lock turn;
  mp::Process one{count, hits, turn}, two{count, hits, turn};
  one.start();
  two.start();
  one.join();
  two.join();
  mp::println("{} in all", hits.get());
}
