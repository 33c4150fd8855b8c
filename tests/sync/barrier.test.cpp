// SPDX-License-Identifier: MIT

#include <multiproc/sync/barrier.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/os/fd.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/segment.hpp>

#include "os/os_test.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"
#include "sync/own_memory.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Barrier;
using multiproc::BrokenBarrier;
using multiproc::Process;
using support::kPatience;
using support::Wire;
using Clock = std::chrono::steady_clock;

static_assert(multiproc::Sendable<Barrier> && std::is_copy_constructible_v<Barrier>);

// What a test and the children that it forks have in common. The segment that small objects stand in stays for the life
// of the process: it is there before the first test counts descriptors, and no test fills it.
struct Notes {
  std::atomic<int> word{0};
  std::atomic<int> broken{0};
  std::atomic<long> sum{0};
};
using SharedNotes = multiproc::detail::Shared<Notes>;
const SharedNotes notes = SharedNotes::make();

using Child = std::unique_ptr<os_test::PlainChild>;

// Ends with the number that it passed with, or with 100 where the barrier was broken.
int pass(const Barrier& barrier) {
  try {
    return barrier.wait(support::scaled(kPatience));
  } catch (const BrokenBarrier&) {
    return 100;
  }
}

Child party(const Barrier& barrier) {
  return std::make_unique<os_test::PlainChild>([&] { ::_exit(pass(barrier)); });
}

int end_of(const Child& child) {
  return WEXITSTATUS(child->wait());
}

void until_waiting(const Barrier& barrier, int count) {
  while (barrier.n_waiting() != count) std::this_thread::yield();
}

std::string text_of_broken(const std::function<void()>& act) {
  try {
    act();
  } catch (const BrokenBarrier& error) {
    return error.what();
  }
  return "passed";
}

TEST(BarrierTest, OneIsPassedByItself) {
  const Barrier barrier(1);
  EXPECT_EQ(barrier.parties(), 1);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(barrier.wait(), 0);
  EXPECT_EQ(barrier.wait(-1h), 0);
  EXPECT_EQ(barrier.n_waiting(), 0);
  EXPECT_FALSE(barrier.broken());
}

TEST(BarrierTest, IsPassedWhenAllAreThereInOrderOfArrival) {
  const Barrier barrier(3);
  const Child first = party(barrier);
  until_waiting(barrier, 1);
  int number = -1;
  std::thread second([&] { number = pass(barrier); });
  until_waiting(barrier, 2);

  EXPECT_EQ(barrier.wait(), 2);

  second.join();
  EXPECT_EQ(number, 1);
  EXPECT_EQ(end_of(first), 0);
  EXPECT_EQ(barrier.n_waiting(), 0);
}

TEST(BarrierTest, ACopyNamesTheSameBarrier) {
  const Barrier barrier(2);
  const Barrier copy = barrier;
  const Barrier other(2);
  EXPECT_EQ(copy, barrier);
  EXPECT_NE(other, barrier);
  const Child child = party(copy);
  const int number = barrier.wait();
  EXPECT_EQ(end_of(child), 1 - number);
}

TEST(BarrierTest, AThousandPassesInLockstepOfProcessesAndThreads) {
  constexpr int kPasses = 1000;
  constexpr int kParties = 4;
  const Barrier barrier(kParties);
  notes->sum = 0;
  // All numbers of a pass together are 0 + 1 + 2 + 3; nobody is ahead of another by more than one.
  const auto walk = [&] {
    for (int i = 0; i < kPasses; ++i) {
      notes->sum += barrier.wait();
      if (notes->sum < 6L * i || notes->sum > 6L * (i + 2)) ::_exit(1);
      if (barrier.wait() == 0 && notes->sum != 6L * (i + 1)) ::_exit(2);
      barrier.wait();
    }
  };
  os_test::PlainChild first{[&] {
    std::thread thread(walk);
    walk();
    thread.join();
  }};
  os_test::PlainChild second{walk};
  walk();
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_EQ(notes->sum, 6L * kPasses);
}

TEST(BarrierTest, MoreThreadsThanPartiesPassInTurns) {
  constexpr int kWaits = 2000;
  const Barrier barrier(2);
  notes->word = 0;
  notes->sum = 0;
  const auto walk = [&] {
    while (notes->word++ < kWaits) notes->sum += barrier.wait();
  };
  os_test::PlainChild first{walk};
  os_test::PlainChild second{walk};
  std::thread third(walk);
  walk();
  third.join();
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_EQ(notes->sum, kWaits / 2);
}

TEST(BarrierTest, RefusesANumberOfPartiesThatIsNone) {
  for (const std::ptrdiff_t parties : {std::ptrdiff_t{0}, std::ptrdiff_t{-1}, std::ptrdiff_t{1} << 40}) {
    try {
      const Barrier barrier(parties);
      ADD_FAILURE() << parties;
    } catch (const multiproc::Error& error) {
      EXPECT_NE(std::string(error.what()).find(std::to_string(parties)), std::string::npos) << error.what();
    }
  }
}

TEST(BarrierTest, ManyPartiesHaveMemoryOfTheirOwn) {
  const Barrier barrier(400);
  std::vector<std::thread> threads;
  std::atomic<int> sum{0};
  for (int i = 1; i < 400; ++i) {
    threads.emplace_back([&] { sum += barrier.wait(); });
  }
  sum += barrier.wait();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 400 * 399 / 2);
}

TEST(BarrierTest, TheActionRunsOnceAPassBeforeAnybodyGoesOn) {
  const Barrier barrier(3, [] { ++notes->word; });
  notes->word = 0;
  const auto walk = [&] {
    for (int i = 1; i <= 100; i += 2) {
      barrier.wait();
      if (notes->word != i) ::_exit(1);
      barrier.wait();
      if (notes->word != i + 1) ::_exit(2);
    }
  };
  os_test::PlainChild first{walk};
  os_test::PlainChild second{walk};
  walk();
  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_EQ(notes->word, 100);
}

TEST(BarrierTest, AnActionThatThrowsBreaksIt) {
  const Barrier barrier(2, [] { throw std::out_of_range{"of the action"}; });
  const Child other = party(barrier);
  until_waiting(barrier, 1);

  EXPECT_THROW((void)barrier.wait(), std::out_of_range);

  EXPECT_EQ(end_of(other), 100);
  EXPECT_TRUE(barrier.broken());
}

TEST(BarrierTest, AnActionMayCallTheBarrierButNotWaitForItself) {
  const Barrier* self = nullptr;
  const Barrier barrier(1, [&] {
    EXPECT_EQ(self->n_waiting(), 1);
    EXPECT_THROW((void)self->wait(1s), multiproc::InvalidState);
    EXPECT_FALSE(self->broken());
    self->abort();
  });
  self = &barrier;
  EXPECT_THROW((void)barrier.wait(), BrokenBarrier);
  EXPECT_TRUE(barrier.broken());
}

TEST(BarrierTest, AnEmptyActionIsNone) {
  const Barrier barrier(1, std::function<void()>());
  EXPECT_EQ(barrier.wait(), 0);
  void (*none)() = nullptr;
  EXPECT_EQ(Barrier(1, none).wait(), 0);
}

TEST(BarrierTest, AbortBreaksItForThoseWhoWaitAndThoseWhoCome) {
  const Barrier barrier(3);
  const Child first = party(barrier);
  const Child second = party(barrier);
  until_waiting(barrier, 2);

  barrier.abort();

  EXPECT_EQ(end_of(first), 100);
  EXPECT_EQ(end_of(second), 100);
  EXPECT_TRUE(barrier.broken());
  EXPECT_EQ(barrier.n_waiting(), 0);
  EXPECT_THROW((void)barrier.wait(), BrokenBarrier);
  barrier.abort();
  barrier.reset();
  EXPECT_FALSE(barrier.broken());
}

TEST(BarrierTest, ResetBreaksItForThoseWhoWaitAndMakesItAsNew) {
  const Barrier barrier(2);
  const Child waiting = party(barrier);
  until_waiting(barrier, 1);

  barrier.reset();

  EXPECT_EQ(end_of(waiting), 100);
  EXPECT_FALSE(barrier.broken());
  EXPECT_EQ(barrier.n_waiting(), 0);
  const Child again = party(barrier);
  const int number = barrier.wait();
  EXPECT_EQ(end_of(again), 1 - number);
}

TEST(BarrierTest, SaysWhyItIsBroken) {
  const Barrier barrier(2);
  EXPECT_NE(text_of_broken([&] { (void)barrier.wait(1ms); }).find("in time"), std::string::npos);
  EXPECT_NE(text_of_broken([&] { (void)barrier.wait(); }).find("reset() mends it"), std::string::npos);
  barrier.reset();
  std::string text;
  std::thread waiting([&] { text = text_of_broken([&] { (void)barrier.wait(); }); });
  until_waiting(barrier, 1);
  barrier.reset();
  waiting.join();
  EXPECT_NE(text.find("while this party waited"), std::string::npos) << text;
}

TEST(BarrierTest, TheDeadlineOfOneBreaksItForAll) {
  const Barrier barrier(3);
  const Child other = party(barrier);
  until_waiting(barrier, 1);
  const auto began = Clock::now();

  EXPECT_THROW((void)barrier.wait(120ms), BrokenBarrier);

  EXPECT_GE(Clock::now() - began, 120ms);
  EXPECT_EQ(end_of(other), 100);
  EXPECT_TRUE(barrier.broken());
}

TEST(BarrierTest, APastDeadlineDoesNotWait) {
  const Barrier barrier(2);
  EXPECT_THROW((void)barrier.wait(-1h), BrokenBarrier);
  barrier.reset();
  const Child other = party(barrier);
  until_waiting(barrier, 1);
  EXPECT_EQ(barrier.wait(Clock::now() - 1h), 1) << "the last one needs no time";
  EXPECT_EQ(end_of(other), 0);
}

TEST(BarrierTest, AWaitGoesOnUnderAStormOfSignals) {
  const Barrier barrier(2);
  const os_test::SignalStorm storm;
  const auto began = Clock::now();
  EXPECT_THROW((void)barrier.wait(60ms), BrokenBarrier);
  EXPECT_GE(Clock::now() - began, 60ms);
  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST(BarrierTest, APartyThatDiesWhileItWaitsBreaksItForTheOthers) {
  const Barrier barrier(4);
  for (int round = 0; round < 50; ++round) {
    const Child doomed = party(barrier);
    const Child other = party(barrier);
    std::atomic<int> ended{-1};
    std::thread thread([&] { ended = pass(barrier); });
    until_waiting(barrier, 3);

    ::kill(doomed->pid(), SIGKILL);

    EXPECT_EQ(end_of(other), 100) << "round " << round;
    thread.join();
    EXPECT_EQ(ended, 100);
    EXPECT_TRUE(barrier.broken());
    EXPECT_THROW((void)barrier.wait(), BrokenBarrier);
    (void)doomed->wait();
    barrier.reset();
    EXPECT_EQ(barrier.n_waiting(), 0);
  }
}

TEST(BarrierTest, APartyThatDiedAloneIsFoundByWhoComesNext) {
  const Barrier barrier(2);
  for (int round = 0; round < 10; ++round) {
    const Child doomed = party(barrier);
    until_waiting(barrier, 1);
    ::kill(doomed->pid(), SIGKILL);
    (void)doomed->wait();
    switch (round % 3) {
      case 0: EXPECT_TRUE(barrier.broken()); break;
      case 1: EXPECT_EQ(barrier.n_waiting(), 0); break;
      default: break;
    }
    EXPECT_THROW((void)barrier.wait(), BrokenBarrier);
    barrier.reset();
  }
  const Child living = party(barrier);
  const int number = barrier.wait();
  EXPECT_EQ(end_of(living), 1 - number);
}

TEST(BarrierTest, APartyThatDiesInTheActionBreaksIt) {
  const Barrier barrier(2, [] {
    notes->word = 1;
    os_test::pause_for_ever();
  });
  notes->word = 0;
  const Child first = party(barrier);
  until_waiting(barrier, 1);
  const Child last = party(barrier);
  while (notes->word != 1) std::this_thread::yield();
  EXPECT_EQ(barrier.n_waiting(), 2);

  ::kill(last->pid(), SIGKILL);

  EXPECT_EQ(end_of(first), 100);
  EXPECT_TRUE(barrier.broken());
}

TEST(BarrierTest, WhoDiesAfterItHasPassedTakesNothingAway) {
  const Barrier barrier(2);
  for (int round = 0; round < 50; ++round) {
    const Child doomed = std::make_unique<os_test::PlainChild>([&] {
      (void)pass(barrier);
      os_test::pause_for_ever();
    });
    EXPECT_NE(pass(barrier), 100);
    ::kill(doomed->pid(), SIGKILL);
    if (round % 2 == 0) (void)doomed->wait();
    EXPECT_FALSE(barrier.broken());
  }
}

TEST(BarrierTest, APartyThatIsStoppedIsNotDead) {
  const Barrier barrier(3);
  const Child stopped = party(barrier);
  const Child other = party(barrier);
  until_waiting(barrier, 2);
  ::kill(stopped->pid(), SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(stopped->pid(), &status, WUNTRACED), stopped->pid());
  const auto since = Clock::now();
  while (Clock::now() - since < 60ms) std::this_thread::yield();
  EXPECT_FALSE(barrier.broken());

  EXPECT_EQ(barrier.wait(), 2);

  EXPECT_NE(end_of(other), 100);
  ::kill(stopped->pid(), SIGCONT);
  EXPECT_NE(end_of(stopped), 100);
}

TEST(BarrierTest, AThreadThatWaitsDiesWithAnExec) {
  const Barrier barrier(2);
  os_test::PlainChild process{[&] {
    std::thread([&] { (void)pass(barrier); }).detach();
    until_waiting(barrier, 1);
    ::execl("/bin/true", "true", static_cast<char*>(nullptr));
  }};
  EXPECT_EQ(process.wait(), 0);
  EXPECT_TRUE(barrier.broken());
}

TEST(BarrierTest, ARefusedWakeUpIsFoundOut) {
  const Barrier barrier(2);
  const Child other = party(barrier);
  until_waiting(barrier, 1);
  const os_test::Refusing refusing{"futex", EPERM, 1, 1000};
  EXPECT_EQ(barrier.wait(), 1);
  EXPECT_EQ(end_of(other), 0);
}

void stop(const Child& child) {
  ::kill(child->pid(), SIGSTOP);
  int status = 0;
  ASSERT_EQ(::waitpid(child->pid(), &status, WUNTRACED), child->pid());
}

TEST(BarrierTest, WhoComesWhileTheActionRunsAndGivesUpDoesNoHarm) {
  const Barrier barrier(2, [] {
    notes->word = 1;
    while (notes->word != 2) std::this_thread::yield();
  });
  notes->word = 0;
  const Child first = party(barrier);
  until_waiting(barrier, 1);
  const Child last = party(barrier);
  while (notes->word != 1) std::this_thread::yield();

  EXPECT_NE(text_of_broken([&] { (void)barrier.wait(-1h); }).find("its action still runs"), std::string::npos);
  const auto began = Clock::now();
  EXPECT_NE(text_of_broken([&] { (void)barrier.wait(50ms); }).find("allow more time"), std::string::npos);
  EXPECT_GE(Clock::now() - began, 50ms);
  EXPECT_FALSE(barrier.broken());
  EXPECT_EQ(barrier.n_waiting(), 2);
  notes->word = 2;

  EXPECT_EQ(end_of(first), 0);
  EXPECT_EQ(end_of(last), 1);
  EXPECT_FALSE(barrier.broken());
}

TEST(BarrierTest, ASleepThatIsRefusedBreaksItForTheOthers) {
  const Barrier barrier(4);
  const Child first = party(barrier);
  const Child second = party(barrier);
  until_waiting(barrier, 2);
  {
    const os_test::Refusing refusing{"futex", EPERM, 1, 1};
    EXPECT_THROW((void)barrier.wait(), multiproc::SystemError);
  }
  EXPECT_EQ(end_of(first), 100);
  EXPECT_EQ(end_of(second), 100);
  EXPECT_TRUE(barrier.broken());
}

TEST(BarrierTest, ADeadPartyIsFoundWhereThoseWhoLookAfterTheOthersAreStopped) {
  const Barrier barrier(8);
  std::vector<Child> parties;
  for (int i = 0; i < 7; ++i) {
    parties.push_back(party(barrier));
    until_waiting(barrier, i + 1);
  }
  for (std::size_t i = 0; i < 4; ++i) stop(parties[i]);
  const auto since = Clock::now();
  while (Clock::now() - since < 60ms) std::this_thread::yield();
  EXPECT_FALSE(barrier.broken());

  ::kill(parties[6]->pid(), SIGKILL);

  EXPECT_EQ(end_of(parties[4]), 100);
  EXPECT_EQ(end_of(parties[5]), 100);
  for (std::size_t i = 0; i < 4; ++i) {
    ::kill(parties[i]->pid(), SIGCONT);
    EXPECT_EQ(end_of(parties[i]), 100);
  }
  (void)parties[6]->wait();
}

// As far as a Barrier without an action decodes itself.
struct PlaceReader {
  const sync_test::Place& place;

  multiproc::os::Fd take_fd() const { return place.segment->descriptor(); }
  template <class T>
  T read() const {
    if constexpr (std::is_same_v<T, std::string>) {
      return {};
    } else {
      return static_cast<T>(place.offset);
    }
  }
};

TEST(BarrierTest, AnEmptyPlaceIsNoBarrier) {
  const sync_test::Place place = sync_test::own_memory();
  PlaceReader reader{place};
  EXPECT_THROW((void)multiproc::Travel<Barrier>::decode(reader), multiproc::DecodeError);
}

std::string mappings_of_barriers() {
  std::ifstream maps("/proc/self/maps");
  std::string found;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("multiproc barrier") != std::string::npos) found += line + '\n';
  }
  return found;
}

TEST(BarrierTest, LargeOnesGiveBackTheirMemoryAndDescriptors) {
  const auto descriptors = os_test::descriptors();
  const std::string mappings = mappings_of_barriers();
  for (int i = 0; i < 200; ++i) {
    const Barrier barrier(10 + i);
    const Barrier copy = barrier;
    EXPECT_EQ(barrier.n_waiting(), 0);
    EXPECT_NE(mappings_of_barriers(), mappings);
  }
  EXPECT_EQ(os_test::descriptors(), descriptors);
  EXPECT_EQ(mappings_of_barriers(), mappings);
}

TEST(BarrierTest, TakesAnActionOfAnyKindOrNone) {
  EXPECT_EQ(Barrier(3, {}).parties(), 3);
  EXPECT_EQ((Barrier{3, {}}).parties(), 3);
  EXPECT_EQ(Barrier(3, nullptr).parties(), 3);
  EXPECT_EQ(Barrier(1, nullptr).wait(), 0);
  int result = 0;
  const Barrier barrier(1, [&result, only = std::make_unique<int>(7)] { result += *only; });
  const Barrier copy = barrier;
  EXPECT_EQ(barrier.wait(), 0);
  EXPECT_EQ(copy.wait(), 0);
  EXPECT_EQ(result, 14);
}

TEST(BarrierTest, SaysWhichNumbersOfPartiesThereAre) {
  EXPECT_EQ(Barrier(4096).parties(), 4096);
  for (const std::ptrdiff_t parties : {0, -1, 4097}) {
    try {
      const Barrier barrier(parties);
      ADD_FAILURE() << parties;
    } catch (const multiproc::Error& error) {
      EXPECT_NE(std::string(error.what()).find("1 to 4096"), std::string::npos) << error.what();
    }
  }
}

// Each has what it waits on, whoever destroys the object that it was called on.
TEST(BarrierTest, TheFirstToLeaveMayDestroyIt) {
  for (const std::ptrdiff_t parties : {3, 12}) {
    for (int round = 0; round < 40; ++round) {
      auto barrier = std::make_unique<Barrier>(parties);
      std::vector<std::thread> others;
      for (std::ptrdiff_t i = 1; i < parties; ++i) others.emplace_back([at = barrier.get()] { at->wait(); });
      barrier->wait();
      barrier.reset();
      for (std::thread& other : others) other.join();
    }
  }
}

TEST(BarrierTest, IsRefusedInAnotherPidNamespace) {
  for (const std::ptrdiff_t parties : {2, 12}) {
    const auto child = support::in_child([parties] {
      const Barrier barrier(parties);
      if (::unshare(CLONE_NEWPID) != 0) return 77;
      os_test::PlainChild inside{[&] {
        try {
          // What is sent is looked at as what comes from elsewhere.
          (void)multiproc::decode<Barrier>(multiproc::encode(barrier));
        } catch (const multiproc::DecodeError& error) {
          ::_exit(std::string(error.what()).find("pid namespace") != std::string::npos ? 0 : 2);
        }
        ::_exit(1);
      }};
      return WEXITSTATUS(inside.wait());
    });
    if (child.status == 77) GTEST_SKIP() << "unshare(CLONE_NEWPID) is refused here";
    EXPECT_EQ(child.status, 0) << parties << child.out << child.err;
  }
}

class BarrierInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(BarrierInProcessesTest);

void tell_number(const Barrier& barrier, const std::string& path) {
  try {
    Wire::tell(path, "waiting");
    const int number = barrier.wait();
    Wire::tell(path, std::to_string(number));
  } catch (const BrokenBarrier&) {
    Wire::tell(path, "broken");
  }
}

TEST_P(BarrierInProcessesTest, TravelsAsAnArgument) {
  const Barrier barrier(2);
  const Wire wire;
  Process child{options(), tell_number, barrier, wire.path()};
  child.start();
  EXPECT_EQ(wire.hear(), "waiting");
  until_waiting(barrier, 1);

  EXPECT_EQ(barrier.wait(), 1);

  EXPECT_EQ(wire.hear(), "0");
  child.join();
}

// The action finds the wire in the environment: it has no captures.
void tell_by_environment() {
  Wire::tell(std::getenv("BARRIER_TEST_WIRE"), "action");
}

TEST_P(BarrierInProcessesTest, ItsActionTravelsToo) {
  const Wire wire;
  for (const Barrier& barrier :
       {Barrier(2, tell_by_environment), Barrier(2, [] { tell_by_environment(); }), Barrier(2, [] {
          tell_by_environment();
          return 1;
        })}) {
    Process child{options({.env = {{"BARRIER_TEST_WIRE", wire.path()}}}), tell_number, barrier, wire.path()};
    std::thread first([&] { EXPECT_EQ(barrier.wait(), 0); });
    until_waiting(barrier, 1);
    child.start();

    EXPECT_EQ(wire.hear(), "waiting");
    EXPECT_EQ(wire.hear(), "action");
    EXPECT_EQ(wire.hear(), "1");
    first.join();
    child.join();
  }
}

TEST_P(BarrierInProcessesTest, AKilledPartyBreaksIt) {
  const Barrier barrier(3);
  const Wire wire;
  Process doomed{options(), tell_number, barrier, wire.path()};
  Process other{options(), tell_number, barrier, wire.path()};
  doomed.start();
  other.start();
  EXPECT_EQ(wire.hear(), "waiting");
  EXPECT_EQ(wire.hear(), "waiting");
  until_waiting(barrier, 2);

  doomed.kill();

  EXPECT_EQ(wire.hear(), "broken");
  doomed.join();
  other.join();
}

TEST(BarrierTest, AnActionWithCapturesIsNotSent) {
  int calls = 0;
  const Barrier barrier(1, [&] { ++calls; });
  try {
    (void)multiproc::encode(barrier);
    ADD_FAILURE() << "sent";
  } catch (const multiproc::NotSendable& error) {
    EXPECT_NE(std::string(error.what()).find("StartMethod::fork"), std::string::npos) << error.what();
  }
  EXPECT_EQ(barrier.wait(), 0);
  EXPECT_EQ(calls, 1);
}

TEST(BarrierTest, ComesBackToItselfWithinAProcess) {
  const Barrier barrier(1, [] { ++notes->word; });
  notes->word = 0;
  const Barrier same = multiproc::decode<Barrier>(multiproc::encode(barrier));
  EXPECT_EQ(same, barrier);
  EXPECT_EQ(same.wait(), 0);
  EXPECT_EQ(notes->word, 1);
}

}  // namespace
