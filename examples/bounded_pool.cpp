// SPDX-License-Identifier: MIT
//
// A bad day: three may work at a time, and one of the three is killed at it. Its permit comes back by itself.
#include <multiproc/multiproc.hpp>

#include <chrono>
#include <thread>
#include <vector>

namespace mp = multiproc;
using namespace std::chrono_literals;

void work_for_ever(const mp::BoundedSemaphore& permits, const mp::Semaphore& begun) {
  permits.acquire();
  begun.release();
  while (true) std::this_thread::sleep_for(1h);
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  mp::BoundedSemaphore permits{3};  // a permit belongs to the process that acquired it
  mp::Semaphore begun{0};           // a count belongs to nobody: raised there, lowered here
  std::vector<mp::Process> workers;
  for (int i = 0; i < 3; ++i) workers.emplace_back(work_for_ever, permits, begun);
  for (mp::Process& worker : workers) worker.start();
  for (int i = 0; i < 3; ++i) begun.acquire();
  mp::println("three at work, {} of {} permits free", permits.value(), permits.bound());

  if (!permits.acquire(100ms)) mp::println("none for us");
  workers[1].kill();
  permits.acquire();
  mp::println("{}: we have its permit", workers[1].name());
  permits.release();

  for (mp::Process& worker : workers) worker.kill();
  for (mp::Process& worker : workers) worker.join();
  mp::println("all gone, {} of {} permits free", permits.value(), permits.bound());

  try {
    permits.release();
  } catch (const mp::InvalidState& refusal) {
    mp::println("{}", refusal.what());
  }
}
