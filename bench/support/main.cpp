// SPDX-License-Identifier: MIT
//
// The main of every benchmark that does not bring its own.

#include <multiproc/process/main_guard.hpp>

#include "support/bench.hpp"

int main(int argc, char** argv) {
  multiproc::main_guard(argc, argv);
  return bench::run(argc, argv);
}
