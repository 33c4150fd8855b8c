// SPDX-License-Identifier: MIT
// expect: a raw pointer points into this process's memory; send the value

#include <multiproc/process/process.hpp>

void fill(int* numbers, int count);

void start(int* numbers) {
  auto child = multiproc::Process::spawned({}, fill, numbers, 3);
  child.start();
}
