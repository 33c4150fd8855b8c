// SPDX-License-Identifier: MIT
//
// A process that is stopped is not dead: what it has nobody takes away, and those who wait for it wait no longer than
// they want to.

#include <chrono>
#include <csignal>
#include <cstddef>
#include <string>

#include <sys/wait.h>

#include <gtest/gtest.h>

#include <multiproc/process/process.hpp>
#include <multiproc/sync/bounded_semaphore.hpp>
#include <multiproc/sync/event.hpp>
#include <multiproc/sync/lock.hpp>
#include <multiproc/sync/rlock.hpp>
#include <multiproc/sync/semaphore.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Acquired;
using multiproc::BoundedSemaphore;
using multiproc::Event;
using multiproc::Lock;
using multiproc::Process;
using multiproc::RLock;
using multiproc::Semaphore;
using support::kPatience;
using support::Wire;
using Clock = std::chrono::steady_clock;

const Lock first_in_its_segment;

void stop(pid_t pid) {
  ::kill(pid, SIGSTOP);
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(pid), &info, WSTOPPED | WNOWAIT), 0);
}

class StoppedTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(StoppedTest);

TEST_P(StoppedTest, AnOwnerKeepsAllItHasAndDeadlinesHold) {
  const Lock lock;
  const RLock rlock;
  const BoundedSemaphore permits(3);
  const Semaphore count(2);
  const Wire out;
  const Wire in;
  Process owner{options(),
                [](const Lock& a, const RLock& b, const BoundedSemaphore& c, const Semaphore& d,
                   const std::string& tell, const std::string& hear) {
                  a.lock();
                  b.lock();
                  b.lock();
                  for (int i = 0; i < 3; ++i) c.acquire();
                  d.acquire();
                  d.acquire();
                  Wire::tell(tell, "has all");
                  (void)Wire::hear(hear);
                  b.unlock();
                  b.unlock();
                  a.unlock();
                  c.release(3);
                  d.release(2);
                },
                lock,
                rlock,
                permits,
                count,
                out.path(),
                in.path()};
  owner.start();
  EXPECT_EQ(out.hear(), "has all");
  stop(owner.pid());

  for (const auto patience : {0ms, 30ms, 120ms}) {
    const auto began = Clock::now();
    EXPECT_EQ(lock.acquire(patience), Acquired::timed_out);
    EXPECT_EQ(rlock.acquire(patience), Acquired::timed_out);
    EXPECT_FALSE(permits.acquire(patience));
    EXPECT_FALSE(count.acquire(patience));
    EXPECT_GE(Clock::now() - began, 4 * patience);
  }
  EXPECT_TRUE(lock.locked());
  EXPECT_EQ(permits.value(), 0);
  EXPECT_EQ(count.value(), 0);
  in.tell("let go");
  EXPECT_EQ(lock.acquire(60ms), Acquired::timed_out) << "it can't hear that";
  ::kill(owner.pid(), SIGCONT);

  EXPECT_EQ(lock.acquire(support::scaled(kPatience)), Acquired::clean);
  EXPECT_EQ(rlock.acquire(support::scaled(kPatience)), Acquired::clean);
  owner.join();
  EXPECT_EQ(owner.exitcode(), 0);
  EXPECT_EQ(permits.value(), 3);
  EXPECT_EQ(count.value(), 2);
  lock.unlock();
  rlock.unlock();
}

TEST_P(StoppedTest, AnOwnerThatIsKilledThenIsDead) {
  const Lock lock;
  const BoundedSemaphore permits(2);
  const Wire wire;
  Process owner{options(),
                [](const Lock& a, const BoundedSemaphore& b, const std::string& tell) {
                  a.lock();
                  b.acquire();
                  support::targets::tell_and_sleep(tell);
                },
                lock, permits, wire.path()};
  owner.start();
  (void)wire.hear();
  stop(owner.pid());
  EXPECT_EQ(permits.value(), 1);

  ::kill(owner.pid(), SIGKILL);  // without SIGCONT

  EXPECT_EQ(lock.acquire(support::scaled(kPatience)), Acquired::owner_died);
  owner.join();
  EXPECT_EQ(permits.value(), 2);
  lock.unlock();
}

// Nobody waits for a waiter.
TEST_P(StoppedTest, AWaiterKeepsNobodyFromAnything) {
  const Event event;
  const Semaphore count(0);
  const Wire wire;
  Process waiter{options(),
                 [](const Event& a, const Semaphore& b, const std::string& tell) {
                   Wire::tell(tell, "waits");
                   a.wait();
                   b.acquire();
                 },
                 event, count, wire.path()};
  waiter.start();
  EXPECT_EQ(wire.hear(), "waits");
  stop(waiter.pid());

  event.set();
  EXPECT_TRUE(event.wait(0ms));
  event.clear();
  count.release();
  EXPECT_TRUE(count.acquire(0ms)) << "it was woken, but has not taken anything";
  event.set();
  count.release();
  ::kill(waiter.pid(), SIGCONT);

  waiter.join();
  EXPECT_EQ(waiter.exitcode(), 0);
  EXPECT_EQ(count.value(), 0);
}

}  // namespace
