// SPDX-License-Identifier: MIT
//
// The main of every test program: a spawned child goes to its target first, everything else runs the tests, each under
// the leak guard and the watchdog.

#include <multiproc/process/main_guard.hpp>

#include <gtest/gtest.h>

#include "support/leak_guard.hpp"
#include "support/watchdog.hpp"

int main(int argc, char** argv) {
  multiproc::main_guard(argc, argv);
  testing::InitGoogleTest(&argc, argv);
  support::install_watchdog();  // first, so that it also covers the guard's own look round
  support::install_leak_guard();
  return RUN_ALL_TESTS();
}
