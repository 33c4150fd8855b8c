// SPDX-License-Identifier: MIT

#include <multiproc/sync/bounded_semaphore.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <sched.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/os/robust_mutex.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/segment.hpp>

#include "os/os_test.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"
#include "support/sanitized.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::BoundedSemaphore;
using multiproc::Deadline;
using multiproc::Error;
using multiproc::InvalidState;
using multiproc::Process;
using multiproc::SystemError;
using multiproc::Unsupported;
using os_test::PlainChild;
using support::kPatience;
using support::Wire;
using Clock = std::chrono::steady_clock;

static_assert(multiproc::Sendable<BoundedSemaphore> && std::is_copy_constructible_v<BoundedSemaphore>);

using SharedInt = multiproc::detail::Shared<std::atomic<int>>;

// The segment that small objects stand in stays for the life of the process: it is there before the first test counts
// descriptors, and no test fills it.
const BoundedSemaphore first_in_its_segment;

void wait_until(const SharedInt& word, int value) {
  while (*word != value) std::this_thread::yield();
}

std::string text_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(BoundedSemaphoreTest, CountsExactly) {
  const BoundedSemaphore semaphore(3);
  EXPECT_EQ(semaphore.value(), 3);
  EXPECT_EQ(semaphore.bound(), 3);

  semaphore.acquire();
  EXPECT_TRUE(semaphore.acquire(1s));
  EXPECT_TRUE(semaphore.try_acquire());
  EXPECT_EQ(semaphore.value(), 0);
  EXPECT_FALSE(semaphore.try_acquire());
  EXPECT_FALSE(semaphore.acquire(-1h));

  semaphore.release();
  EXPECT_EQ(semaphore.value(), 1);
  semaphore.release(2);
  EXPECT_EQ(semaphore.value(), 3);
  EXPECT_EQ(semaphore.bound(), 3);
  EXPECT_EQ(BoundedSemaphore().bound(), 1);
}

TEST(BoundedSemaphoreTest, AReleaseWithoutHoldingIsAnError) {
  const BoundedSemaphore semaphore(3);
  EXPECT_THROW(semaphore.release(), InvalidState);
  semaphore.acquire();
  semaphore.acquire();

  EXPECT_THROW(semaphore.release(3), InvalidState);

  EXPECT_EQ(semaphore.value(), 1) << "it holds what it held";
  semaphore.release(2);
  EXPECT_THROW(semaphore.release(), InvalidState);
  EXPECT_EQ(semaphore.value(), 3);
  const std::string text = text_of([&] { semaphore.release(); });
  EXPECT_NE(text.find("this process holds 0 permits"), std::string::npos) << text;
  EXPECT_NE(text.find("Semaphore"), std::string::npos) << text;
}

TEST(BoundedSemaphoreTest, RefusesWhatCanNotBeCounted) {
  EXPECT_THROW(BoundedSemaphore(0), Error);
  EXPECT_THROW(BoundedSemaphore(-1), Error);
  EXPECT_THROW(BoundedSemaphore(BoundedSemaphore::max() + 1), Error);
  const BoundedSemaphore semaphore;
  semaphore.acquire();
  EXPECT_THROW(semaphore.release(0), Error);
  EXPECT_THROW(semaphore.release(-1), Error);
  EXPECT_EQ(semaphore.value(), 0);
  semaphore.release();
}

TEST(BoundedSemaphoreTest, TheLargestBoundIsCounted) {
  const BoundedSemaphore semaphore(BoundedSemaphore::max());
  EXPECT_TRUE(semaphore.try_acquire());
  EXPECT_EQ(semaphore.value(), BoundedSemaphore::max() - 1);
  semaphore.release();
  EXPECT_EQ(semaphore.value(), BoundedSemaphore::max());
}

TEST(BoundedSemaphoreTest, CopiesAndThreadsShareWhatTheProcessHolds) {
  BoundedSemaphore semaphore(2);
  const BoundedSemaphore copy = semaphore;
  const BoundedSemaphore moved = std::move(semaphore);
  EXPECT_EQ(copy, moved);
  EXPECT_EQ(copy, semaphore);  // NOLINT(bugprone-use-after-move): there are no moves
  EXPECT_NE(copy, BoundedSemaphore(2));

  std::thread([&] { semaphore.acquire(); }).join();
  EXPECT_EQ(copy.value(), 1) << "the thread is dead, the process is not";

  copy.release();
  EXPECT_EQ(moved.value(), 2);
}

TEST(BoundedSemaphoreTest, ADeadlineBoundsTheWait) {
  const BoundedSemaphore semaphore;
  semaphore.acquire();
  const auto began = Clock::now();

  EXPECT_FALSE(semaphore.acquire(120ms));  // longer than a few sleeps

  EXPECT_GE(Clock::now() - began, 120ms);
  semaphore.release();
  EXPECT_TRUE(semaphore.acquire(Deadline::now()));
  semaphore.release();
}

TEST(BoundedSemaphoreTest, AWaitGoesOnUnderAStormOfSignals) {
  const BoundedSemaphore semaphore;
  semaphore.acquire();
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_FALSE(semaphore.acquire(60ms));

  EXPECT_GE(Clock::now() - began, 60ms);
  EXPECT_GT(os_test::SignalStorm::signals(), 5);
  semaphore.release();
}

TEST(BoundedSemaphoreTest, NoMoreThanTheBoundAreInsideInThreadsAndProcesses) {
  constexpr int kRounds = 3000;
  constexpr int kBound = 2;
  const BoundedSemaphore semaphore(kBound);
  const auto inside = SharedInt::make(0);
  const auto most = SharedInt::make(0);
  const auto turns = SharedInt::make(0);
  const auto work = [&] {
    for (int i = 0; i < kRounds; ++i) {
      semaphore.acquire();
      const int now = inside->fetch_add(1) + 1;
      for (int before = *most; before < now && !most->compare_exchange_weak(before, now);) {
      }
      turns->fetch_add(1);
      inside->fetch_sub(1);
      semaphore.release();
    }
  };

  PlainChild first{work};
  PlainChild second{[&] { std::thread(work).join(); }};
  std::thread third(work);
  work();
  third.join();

  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_LE(*most, kBound);
  EXPECT_EQ(*turns, 4 * kRounds);
  EXPECT_EQ(semaphore.value(), kBound);
}

TEST(BoundedSemaphoreTest, OneReleaseOfManyWakesAsMany) {
  constexpr int kWaiters = 5;
  const BoundedSemaphore semaphore(kWaiters);
  const auto begun = SharedInt::make(0);
  for (int i = 0; i < kWaiters; ++i) semaphore.acquire();
  std::vector<std::thread> threads;
  for (int i = 0; i < kWaiters; ++i) {
    threads.emplace_back([&] {
      ++*begun;
      EXPECT_TRUE(semaphore.acquire(support::scaled(kPatience)));
    });
  }
  wait_until(begun, kWaiters);

  semaphore.release(kWaiters);

  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(semaphore.value(), 0);
  semaphore.release(kWaiters);
}

TEST(BoundedSemaphoreTest, AForkedChildHoldsNothingOfItsParents) {
  const BoundedSemaphore semaphore(2);
  semaphore.acquire();

  const auto child = support::in_child([&] {
    EXPECT_EQ(semaphore.value(), 1);
    EXPECT_THROW(semaphore.release(), InvalidState);
    EXPECT_TRUE(semaphore.try_acquire());
    EXPECT_EQ(semaphore.value(), 0);
    EXPECT_THROW(semaphore.release(2), InvalidState);
    semaphore.release();
    semaphore.acquire();
  });

  EXPECT_EQ(child.status, 0) << child.out << child.err;
  EXPECT_EQ(semaphore.value(), 1) << "the child's came back, the parent's is held";
  semaphore.release();
  EXPECT_EQ(semaphore.value(), 2);
}

TEST(BoundedSemaphoreTest, APermitComesBackHoweverItsHolderEnds) {
  const BoundedSemaphore semaphore(3);
  const std::array<void (*)(), 4> ends{[] { ::raise(SIGKILL); }, [] { ::raise(SIGTERM); }, [] { ::_exit(0); },
                                       [] { ::_exit(7); }};
  for (void (*const end)() : ends) {
    PlainChild holder{[&] {
      semaphore.acquire();
      semaphore.acquire();
      end();
    }};
    (void)holder.wait();

    EXPECT_EQ(semaphore.value(), 3);
  }
}

TEST(BoundedSemaphoreTest, AZombieHasGivenItsPermitsBack) {
  const BoundedSemaphore semaphore(1);
  PlainChild holder{[&] { semaphore.acquire(); }};

  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(holder.pid()), &info, WEXITED | WNOWAIT), 0);

  EXPECT_TRUE(semaphore.try_acquire()) << "dead, and not reaped";
  EXPECT_EQ(semaphore.value(), 0);
  EXPECT_EQ(holder.wait(), 0);
  semaphore.release();
}

TEST(BoundedSemaphoreTest, AWaiterGetsWhatADeadHolderHad) {
  for (int round = 0; round < 20; ++round) {
    const BoundedSemaphore semaphore;
    const auto held = SharedInt::make(0);
    PlainChild holder{[&] {
      semaphore.acquire();
      *held = 1;
      os_test::pause_for_ever();
    }};
    wait_until(held, 1);
    PlainChild waiter{[&] {
      *held = 2;
      ::_exit(semaphore.acquire(support::scaled(kPatience)) ? 0 : 1);
    }};
    wait_until(held, 2);
    const auto since = Clock::now();
    while (Clock::now() - since < round * 1ms) std::this_thread::yield();

    ::kill(holder.pid(), SIGKILL);

    EXPECT_EQ(waiter.wait(), 0);
    (void)holder.wait();
    EXPECT_EQ(semaphore.value(), 1);
  }
}

TEST(BoundedSemaphoreTest, KilledWaitersCostNothing) {
  const auto begun = SharedInt::make(0);
  for (int round = 0; round < 60; ++round) {
    const BoundedSemaphore semaphore;
    semaphore.acquire();
    *begun = 0;
    PlainChild doomed{[&] {
      ++*begun;
      semaphore.acquire();
      os_test::pause_for_ever();
    }};
    PlainChild living{[&] {
      ++*begun;
      semaphore.acquire();
    }};
    wait_until(begun, 2);
    const auto since = Clock::now();
    while (Clock::now() - since < std::chrono::microseconds(round * 20)) std::this_thread::yield();

    if (round % 3 == 0) ::kill(doomed.pid(), SIGKILL);
    semaphore.release();
    ::kill(doomed.pid(), SIGKILL);

    EXPECT_EQ(living.wait(), 0);
    (void)doomed.wait();
    EXPECT_EQ(semaphore.value(), 1);
  }
}

TEST(BoundedSemaphoreTest, AStoppedHolderKeepsItsPermitsAndDeadlinesHold) {
  const BoundedSemaphore semaphore(2);
  const auto step = SharedInt::make(0);
  PlainChild holder{[&] {
    semaphore.acquire();
    semaphore.acquire();
    *step = 1;
    while (*step != 2) std::this_thread::yield();
    semaphore.release(2);
  }};
  wait_until(step, 1);
  ::kill(holder.pid(), SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(holder.pid(), &status, WUNTRACED), holder.pid());
  ASSERT_TRUE(WIFSTOPPED(status));

  const auto began = Clock::now();
  EXPECT_FALSE(semaphore.acquire(120ms));
  EXPECT_GE(Clock::now() - began, 120ms);
  EXPECT_FALSE(semaphore.try_acquire());
  EXPECT_EQ(semaphore.value(), 0);
  *step = 2;
  ::kill(holder.pid(), SIGCONT);

  EXPECT_TRUE(semaphore.acquire(support::scaled(kPatience)));
  EXPECT_EQ(holder.wait(), 0);
  semaphore.release();
  EXPECT_EQ(semaphore.value(), 2);
}

TEST(BoundedSemaphoreTest, AHolderThatExecutesAnotherProgramHoldsOnUntilItEnds) {
  const BoundedSemaphore semaphore;
  const Wire wire;
  PlainChild holder{[&] {
    semaphore.acquire();
    const std::string script = "echo ready > " + wire.path() + "; exec sleep 1000";
    ::execl("/bin/sh", "sh", "-c", script.c_str(), nullptr);
    ::_exit(127);
  }};
  EXPECT_EQ(wire.hear(), "ready");

  EXPECT_EQ(semaphore.value(), 0);
  EXPECT_FALSE(semaphore.acquire(60ms));
  ::kill(holder.pid(), SIGKILL);

  EXPECT_TRUE(semaphore.acquire(support::scaled(kPatience)));
  semaphore.release();
  (void)holder.wait();
}

TEST(BoundedSemaphoreTest, MoreProcessesThanSlotsTakeTurns) {
  const BoundedSemaphore semaphore(2);  // two can hold permits at a time, and twelve come by
  const auto begun = SharedInt::make(0);
  std::vector<std::unique_ptr<PlainChild>> children;
  for (int i = 0; i < 12; ++i) {
    children.push_back(std::make_unique<PlainChild>([&, i] {
      ++*begun;
      for (int k = 0; k < 100; ++k) {
        semaphore.acquire();
        std::this_thread::yield();
        if (k % 50 == i) ::raise(SIGKILL);  // with a permit
        semaphore.release();
      }
    }));
  }

  for (const auto& child : children) (void)child->wait();
  EXPECT_EQ(*begun, 12);
  EXPECT_EQ(semaphore.value(), 2);
  EXPECT_TRUE(semaphore.try_acquire());
  EXPECT_TRUE(semaphore.try_acquire());
  EXPECT_FALSE(semaphore.try_acquire());
  semaphore.release(2);
}

// A table of few slots for many permits: what kMostHolders is, in small.
TEST(BoundedSemaphoreTest, MoreHoldersThanThereAreSlotsAreRefusedUntilOneDies) {
  namespace detail = multiproc::detail;
  const detail::Place place = detail::take_place(detail::PermitTable::size_with(2));
  auto& table = detail::PermitTable::make_at(place, 10, 2);
  const auto held = SharedInt::make(0);
  const auto hold = [&] {
    table.acquire(Deadline::never());
    ++*held;
    os_test::pause_for_ever();
  };
  PlainChild first{hold};
  PlainChild second{hold};
  wait_until(held, 2);

  const std::string text = text_of([&] { table.acquire(Deadline::never()); });
  EXPECT_NE(text.find("2 processes hold permits"), std::string::npos) << text;
  EXPECT_EQ(table.free_permits(), 8U);
  ::kill(first.pid(), SIGKILL);
  (void)first.wait();

  EXPECT_TRUE(table.acquire(Deadline::now()));
  EXPECT_EQ(table.free_permits(), 8U);
  table.release(1);
}

TEST(BoundedSemaphoreTest, HoldersAndWaitersAreKilledAtRandomAndNoPermitIsLost) {
  constexpr int kProcesses = 8;
  constexpr int kBound = 7;
  constexpr int kKills = 500;
  const BoundedSemaphore semaphore(kBound);
  const auto quit = SharedInt::make(0);
  const auto turns = SharedInt::make(0);
  const auto inside = SharedInt::make(0);  // more than the truth: the dead stay counted
  std::array<SharedInt, kProcesses> holds{SharedInt::make(-1), SharedInt::make(-1), SharedInt::make(-1),
                                          SharedInt::make(-1), SharedInt::make(-1), SharedInt::make(-1),
                                          SharedInt::make(-1), SharedInt::make(-1)};
  const auto work = [&](std::size_t who, unsigned seed) {
    std::mt19937 random(seed);
    int held = 0;
    while (*quit == 0) {
      if (held < 3 && random() % 2 == 0) {
        if (semaphore.acquire(random() % 3 == 0 ? 0ms : 1ms)) ++held;
      } else if (held > 0) {
        const int some = 1 + static_cast<int>(random() % static_cast<unsigned>(held));
        semaphore.release(some);
        held -= some;
      }
      turns->fetch_add(1);
    }
    *holds[who] = held;
    os_test::pause_for_ever();
  };
  std::mt19937 random(4711);
  std::array<std::unique_ptr<PlainChild>, kProcesses> children;
  const auto start = [&](std::size_t who) {
    children[who] = std::make_unique<PlainChild>([&, who, seed = random()] { work(who, static_cast<unsigned>(seed)); });
  };
  for (std::size_t who = 0; who < kProcesses; ++who) start(who);

  for (int kill = 0; kill < kKills; ++kill) {
    const int until = *turns + static_cast<int>(random() % 40);
    while (*turns < until) std::this_thread::yield();
    const std::size_t who = random() % kProcesses;
    ::kill(children[who]->pid(), SIGKILL);
    ASSERT_EQ(WTERMSIG(children[who]->wait()), SIGKILL) << "it ended by itself: an error was thrown";
    start(who);
    if (kill % 50 == 0) {
      const auto now = semaphore.value();
      ASSERT_GE(now, 0);
      ASSERT_LE(now, kBound);
    }
  }
  *quit = 1;
  std::ptrdiff_t held = 0;
  for (const SharedInt& some : holds) {
    while (*some == -1) std::this_thread::yield();
    held += *some;
  }

  EXPECT_EQ(semaphore.value() + held, kBound);
  for (const auto& child : children) ::kill(child->pid(), SIGKILL);
  for (const auto& child : children) (void)child->wait();
  EXPECT_EQ(semaphore.value(), kBound);
  for (int i = 0; i < kBound; ++i) EXPECT_TRUE(semaphore.try_acquire());
  EXPECT_FALSE(semaphore.try_acquire());
  semaphore.release(kBound);
}

TEST(BoundedSemaphoreTest, WithoutProcItSaysSoAndNamesTheRemedy) {
  const auto child = support::in_child([] {
    const os_test::Refusing refusing{"open", ENOENT, 1, 1000};
    const std::string text = text_of([] { const BoundedSemaphore semaphore; });
    EXPECT_NE(text.find("/proc"), std::string::npos) << text;
    EXPECT_NE(text.find("mount"), std::string::npos) << text;
    EXPECT_THROW(first_in_its_segment.acquire(), Unsupported);
    EXPECT_THROW((void)first_in_its_segment.value(), Unsupported);
  });
  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

TEST(BoundedSemaphoreTest, WithoutADescriptorForTheFirstUseItSaysSoAndTheNextUseWorks) {
  const auto child = support::in_child([] {
    {
      const os_test::Refusing refusing{"open", EMFILE};
      EXPECT_THROW(first_in_its_segment.acquire(), SystemError);
    }
    EXPECT_TRUE(first_in_its_segment.try_acquire());
  });
  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

TEST(BoundedSemaphoreTest, AChildThatIsDeadIsFoundOutWithoutADescriptor) {
  const BoundedSemaphore semaphore;
  PlainChild holder{[&] { semaphore.acquire(); }};
  siginfo_t info{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(holder.pid()), &info, WEXITED | WNOWAIT), 0);
  {
    const os_test::Refusing refusing{"open", EMFILE, 1, 1000};
    EXPECT_EQ(semaphore.value(), 1);
    EXPECT_TRUE(semaphore.try_acquire());
  }
  semaphore.release();
  EXPECT_EQ(holder.wait(), 0) << "left for its parent to reap";
}

TEST(BoundedSemaphoreTest, AHolderThatCanNotBeLookedAtForWantOfADescriptorIsAnErrorAndNoWrongAnswer) {
  const BoundedSemaphore semaphore(2);
  semaphore.acquire();
  const auto held = SharedInt::make(0);
  PlainChild holder{[&] {
    semaphore.acquire();
    *held = 1;
    os_test::pause_for_ever();
  }};
  wait_until(held, 1);
  for (const int error : {EMFILE, ENFILE, ENOMEM}) {
    const os_test::Refusing refusing{"open", error, 1, 100'000};
    EXPECT_THROW((void)semaphore.value(), SystemError);
    EXPECT_THROW((void)semaphore.try_acquire(), SystemError);
    EXPECT_THROW((void)semaphore.acquire(30ms), SystemError);
  }
  {
    const os_test::Refusing refusing{"open", EMFILE, 1, 100'000};
    const std::string text = text_of([&] { semaphore.acquire(); });
    EXPECT_NE(text.find("ulimit -n"), std::string::npos) << text;
    semaphore.release();
    EXPECT_TRUE(semaphore.try_acquire()) << "nobody has to be looked at for a free one";
  }
  EXPECT_FALSE(semaphore.acquire(30ms));
  ::kill(holder.pid(), SIGKILL);
  (void)holder.wait();
  EXPECT_EQ(semaphore.value(), 1);
  semaphore.release();
}

TEST(BoundedSemaphoreTest, AProcessOfAnotherPidNamespaceIsRefused) {
  const auto child = support::in_child([] {
    if (::unshare(CLONE_NEWPID) != 0) return 77;
    const auto inner = support::in_child([] {
      EXPECT_THROW((void)first_in_its_segment.try_acquire(), Unsupported);
      EXPECT_THROW((void)first_in_its_segment.value(), Unsupported);
    });
    EXPECT_EQ(inner.status, 0) << inner.out << inner.err;
    return testing::Test::HasFailure() ? 1 : 0;
  });
  if (child.status == 77) GTEST_SKIP() << "unshare(CLONE_NEWPID) is refused here";
  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

// By whose clock /proc tells when a process began: the parent would be taken for dead.
TEST(BoundedSemaphoreTest, AProcessOfAnotherTimeNamespaceIsRefused) {
#ifdef CLONE_NEWTIME
  const auto child = support::in_child([] {
    if (::unshare(CLONE_NEWTIME) != 0) return 77;
    std::FILE* const offsets = std::fopen("/proc/self/timens_offsets", "w");
    if (offsets == nullptr) return 77;
    std::fputs("boottime 1000 0\n", offsets);
    if (std::fclose(offsets) != 0) return 77;
    first_in_its_segment.acquire();
    const auto inner = support::in_child([] {
      EXPECT_THROW((void)first_in_its_segment.try_acquire(), Unsupported);
      EXPECT_THROW((void)first_in_its_segment.value(), Unsupported);
    });
    EXPECT_EQ(inner.status, 0) << inner.out << inner.err;
    first_in_its_segment.release();
    return testing::Test::HasFailure() ? 1 : 0;
  });
  if (child.status == 77) GTEST_SKIP() << "unshare(CLONE_NEWTIME) is refused here";
  EXPECT_EQ(child.status, 0) << child.out << child.err;
#else
  GTEST_SKIP() << "the C library knows no time namespaces";
#endif
}

TEST(BoundedSemaphoreTest, IsNotTakenByAThreadThatHoldsAsManyLocksAsTheKernelHandsOn) {
  if (support::kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer follows 64 locks of a thread";
  using multiproc::os::RobustMutex;
  const auto memory = multiproc::os::map_inheritable(RobustMutex::kMostHeld * sizeof(RobustMutex)).or_throw("memory");
  std::vector<RobustMutex*> held;
  for (std::size_t i = 0; i < RobustMutex::kMostHeld; ++i) {
    held.push_back(new (memory.bytes().data() + i * sizeof(RobustMutex)) RobustMutex);
    ASSERT_TRUE(held.back()->init());
    ASSERT_EQ(held.back()->try_lock(), multiproc::os::LockOutcome::clean);
  }
  const BoundedSemaphore semaphore;

  EXPECT_THROW(semaphore.acquire(), InvalidState);

  for (RobustMutex* const mutex : held) EXPECT_TRUE(mutex->unlock());
  semaphore.acquire();
  semaphore.release();
}

TEST(BoundedSemaphoreTest, AsksTheKernelForNothingAsLongAsThereIsAPermit) {
  namespace fault = multiproc::os::fault;
  const BoundedSemaphore semaphore(2);
  const os_test::Refusing no_futex{"futex", EPERM, 1, 1000};
  const os_test::Refusing no_proc{"open", EPERM, 1, 1000};

  for (int i = 0; i < 10; ++i) {
    semaphore.acquire();
    EXPECT_TRUE(semaphore.acquire(1s));
    semaphore.release(2);
  }

  EXPECT_EQ(fault::seen("futex"), 0);
  EXPECT_EQ(fault::seen("open"), 0);
}

// As a signal handler does that interrupts a call of its own thread.
TEST(BoundedSemaphoreTest, AUseInTheMidstOfAUseIsAnErrorAndNoDeadlock) {
  namespace detail = multiproc::detail;
  const detail::Place place = detail::take_place(detail::PermitTable::size_with(2));
  auto& table = detail::PermitTable::make_at(place, 2, 2);
  ASSERT_EQ(table.guard.try_lock(), multiproc::os::LockOutcome::clean);

  EXPECT_THROW(table.acquire(Deadline::never()), InvalidState);
  EXPECT_THROW(table.release(1), InvalidState);

  table.guard.unlock();
  EXPECT_TRUE(table.acquire(Deadline::now()));
  table.release(1);
}

TEST(BoundedSemaphoreTest, ACallIsNotHeldUpForLongerThanItsDeadlineByAProcessStoppedInTheMidstOfOne) {
  namespace detail = multiproc::detail;
  const detail::Place place = detail::take_place(detail::PermitTable::size_with(2));
  auto& table = detail::PermitTable::make_at(place, 2, 2);
  const auto step = SharedInt::make(0);
  PlainChild inside{[&] {
    (void)table.guard.try_lock();
    *step = 1;
    os_test::pause_for_ever();
  }};
  wait_until(step, 1);
  ::kill(inside.pid(), SIGSTOP);

  EXPECT_FALSE(table.acquire(60ms));
  EXPECT_FALSE(table.acquire(Deadline::now()));
  ::kill(inside.pid(), SIGKILL);

  EXPECT_TRUE(table.acquire(support::scaled(kPatience)));
  (void)inside.wait();
  EXPECT_EQ(table.free_permits(), 1U);
  table.release(1);
}

TEST(BoundedSemaphoreTest, NorWhereAHolderHasDiedMeanwhile) {
  namespace detail = multiproc::detail;
  const detail::Place place = detail::take_place(detail::PermitTable::size_with(2));
  auto& table = detail::PermitTable::make_at(place, 2, 2);
  table.acquire(Deadline::never());
  PlainChild holder{[&] { table.acquire(Deadline::never()); }};
  ASSERT_EQ(holder.wait(), 0);
  const auto step = SharedInt::make(0);
  PlainChild inside{[&] {
    (void)table.guard.try_lock();
    *step = 1;
    os_test::pause_for_ever();
  }};
  wait_until(step, 1);
  ::kill(inside.pid(), SIGSTOP);

  EXPECT_FALSE(table.acquire(100ms));
  EXPECT_FALSE(table.acquire(Deadline::now()));
  EXPECT_EQ(table.free_permits(), 1U);
  ::kill(inside.pid(), SIGKILL);

  EXPECT_TRUE(table.acquire(support::scaled(kPatience)));
  (void)inside.wait();
  EXPECT_EQ(table.free_permits(), 0U);
  table.release(2);
}

TEST(BoundedSemaphoreTest, TheFreePermitsAreTakenFromTheSlotsWhereAProcessIsStoppedInTheMidstOfACall) {
  namespace detail = multiproc::detail;
  const detail::Place place = detail::take_place(detail::PermitTable::size_with(2));
  auto& table = detail::PermitTable::make_at(place, 2, 2);
  table.acquire(Deadline::never());
  const auto step = SharedInt::make(0);
  PlainChild inside{[&] {
    (void)table.guard.try_lock();
    *step = 1;
    os_test::pause_for_ever();
  }};
  wait_until(step, 1);
  ::kill(inside.pid(), SIGSTOP);

  EXPECT_EQ(table.free_permits(), 1U);

  ::kill(inside.pid(), SIGKILL);
  (void)inside.wait();
  table.release(1);
  EXPECT_EQ(table.free_permits(), 2U);
}

TEST(BoundedSemaphoreTest, ComesBackToItselfWithinAProcess) {
  for (const std::ptrdiff_t bound : {1, 100, 1'000'000}) {
    const BoundedSemaphore semaphore(bound);
    semaphore.acquire();

    const auto same = multiproc::decode<BoundedSemaphore>(multiproc::encode(semaphore));

    EXPECT_EQ(same, semaphore);
    EXPECT_EQ(same.bound(), bound);
    same.release();
    EXPECT_EQ(semaphore.value(), bound);
  }
}

class BoundedSemaphoreInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(BoundedSemaphoreInProcessesTest);

TEST_P(BoundedSemaphoreInProcessesTest, TravelsAsAnArgument) {
  for (const std::ptrdiff_t bound : {2, 5000}) {
    const BoundedSemaphore semaphore(bound);
    const Wire wire;
    const Wire back;
    semaphore.acquire();
    Process child{options(),
                  [](const BoundedSemaphore& mine, const std::string& out, const std::string& in) {
                    bool refused = false;
                    try {
                      mine.release();  // the parent's
                    } catch (const InvalidState&) {
                      refused = true;
                    }
                    mine.acquire();
                    Wire::tell(out, std::string(refused ? "refused " : "released ") + std::to_string(mine.value()));
                    (void)Wire::hear(in);
                    mine.release();
                    Wire::tell(out, std::to_string(mine.value()));
                  },
                  semaphore, wire.path(), back.path()};
    child.start();

    EXPECT_EQ(wire.hear(), "refused " + std::to_string(bound - 2));
    EXPECT_EQ(semaphore.value(), bound - 2);
    back.tell("go on");
    EXPECT_EQ(wire.hear(), std::to_string(bound - 1));
    child.join();
    EXPECT_EQ(child.exitcode(), 0);
    semaphore.release();
  }
}

TEST_P(BoundedSemaphoreInProcessesTest, AKilledHolderGivesItsPermitsBack) {
  const BoundedSemaphore semaphore(3);
  const Wire wire;
  Process child{options(),
                [](const BoundedSemaphore& mine, const std::string& path) {
                  for (int i = 0; i < 3; ++i) mine.acquire();
                  support::targets::tell_and_sleep(path);
                },
                semaphore, wire.path()};
  child.start();
  (void)wire.hear();
  EXPECT_EQ(semaphore.value(), 0);
  EXPECT_FALSE(semaphore.try_acquire());

  child.kill();

  EXPECT_TRUE(semaphore.acquire(support::scaled(kPatience))) << "before anybody has reaped it";
  EXPECT_EQ(semaphore.value(), 2);
  child.join();
  semaphore.release();
}

TEST_P(BoundedSemaphoreInProcessesTest, AHolderThatReturnsGivesItsPermitsBack) {
  const BoundedSemaphore semaphore(2);
  Process child{options(), [](const BoundedSemaphore& mine) { mine.acquire(); }, semaphore};
  child.start();
  child.join();

  EXPECT_EQ(child.exitcode(), 0);
  EXPECT_EQ(semaphore.value(), 2);
}

}  // namespace
