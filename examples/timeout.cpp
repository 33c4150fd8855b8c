// SPDX-License-Identifier: MIT
//
// A bad day: a function that does not come back. It is given some time, then asked to end, then made to.
#include <multiproc/multiproc.hpp>

#include <chrono>
#include <csignal>
#include <thread>

namespace mp = multiproc;
using namespace std::chrono_literals;

void never_return() {
  std::signal(SIGTERM, SIG_IGN);  // and it does not listen either
  while (true) std::this_thread::sleep_for(1h);
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  mp::Process stubborn{never_return};
  stubborn.start();
  if (!stubborn.join(300ms)) {
    mp::println("still running: asking it to end");
    stubborn.terminate();
  }
  if (!stubborn.join(300ms)) {
    mp::println("still running: ending it");
    stubborn.kill();
  }
  stubborn.join();
  mp::println("{}", stubborn.exit_status()->describe());
}
