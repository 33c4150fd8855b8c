// SPDX-License-Identifier: MIT
//
// The harness itself: it finds the faults that are known, each of the kind that it is, and none where there is none.

#include "support/kill_step.hpp"
#include "os/sanitizer.hpp"

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <boost/interprocess/ipc/message_queue.hpp>

namespace {

using namespace std::chrono_literals;
using support::Findings;
using support::Inherited;
using support::KillAt;
using support::KillReport;
using support::KillStep;
using testing::AssertionFailure;
using testing::AssertionResult;
using testing::AssertionSuccess;

// All points, for one test.
class Exhaustive {
 public:
  Exhaustive() { ::setenv("MULTIPROC_KILL_STEP", "exhaustive", 1); }
  Exhaustive(const Exhaustive&) = delete;
  Exhaustive& operator=(const Exhaustive&) = delete;
  ~Exhaustive() {
    if (before_.empty()) {
      ::unsetenv("MULTIPROC_KILL_STEP");
    } else {
      ::setenv("MULTIPROC_KILL_STEP", before_.c_str(), 1);
    }
  }

 private:
  static std::string value() {
    const char* text = std::getenv("MULTIPROC_KILL_STEP");
    return text != nullptr ? text : "";
  }

  std::string before_ = value();
};

AssertionResult says(const KillReport& report, std::string_view part) {
  std::string all;
  for (const std::string& note : report.notes) all += "\n  " + note;
  if (all.find(part) != std::string::npos) return AssertionSuccess();
  return AssertionFailure() << "no \"" << part << "\" in the notes of: " << report.line() << all;
}

enum class Kind { plain, robust };

// Two words that are equal whenever nobody is between lock() and unlock().
struct Pair {
  explicit Pair(Kind kind) {
    pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    if (kind == Kind::robust) ::pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutex_init(&mutex, &attributes);
    ::pthread_mutexattr_destroy(&attributes);
  }

  void lock() {
    const int error = ::pthread_mutex_lock(&mutex);
    if (error == EOWNERDEAD) {
      second = first;  // what the dead owner had begun is completed
      ::pthread_mutex_consistent(&mutex);
    } else if (error != 0) {
      throw std::runtime_error{"lock"};
    }
  }
  void unlock() { ::pthread_mutex_unlock(&mutex); }
  void increment() {
    lock();
    first = first + 1;
    second = second + 1;
    unlock();
  }

  pthread_mutex_t mutex;
  volatile int first = 0;
  volatile int second = 0;
  std::atomic<int> completed{0};  // increments of partners
};
using Counter = Inherited<Pair>;

void increment_as_partner(Counter& counter) {
  counter->increment();
  ++counter->completed;
}

void check_counter(Counter& counter, Findings& found) {
  counter->lock();  // repairs, if nobody had occasion to
  const int extra = counter->first - counter->completed;
  if (counter->first != counter->second) found.corrupt("the two words differ");
  if (extra < 0) found.lost("an increment of a partner");
  if (extra > 1) found.corrupt("one increment counted twice");
  counter->unlock();
}

KillStep<Counter> counter_of(Kind kind) {
  return {.name = "increment",
          .setup = [kind] { return Counter{kind}; },
          .operation = [](Counter& counter) { counter->increment(); },
          .stages = {{.name = "partner comes after", .after = increment_as_partner}},
          .check = check_counter};
}

TEST(KillStepTest, FindsNothingInARobustMutexWhoseOwnersAreReplacedRightly) {
  auto counter = counter_of(Kind::robust);
  counter.name = "robust increment";
  counter.stages.push_back({.name = "partner was there before", .before = increment_as_partner});
  static bool holds = false;  // of the partner's process
  const auto let_go = [](Counter& it) {
    if (std::exchange(holds, false)) it->unlock();
  };
  counter.stages.push_back({.name = "partner holds the lock",
                            .before =
                                [](Counter& it) {
                                  it->lock();
                                  holds = true;
                                },
                            .unblock = let_go,
                            .after =
                                [let_go](Counter& it) {
                                  let_go(it);
                                  increment_as_partner(it);
                                }});

  counter.run();
}

TEST(KillStepTest, FindsNothingWhereAPartnerWaitsForTheVictim) {
  auto counter = counter_of(Kind::robust);
  counter.name = "robust unlock";
  counter.warm_up = [](Counter& it) { it->increment(); };
  counter.prepare = [](Counter& it) { it->lock(); };
  counter.operation = [](Counter& it) { it->unlock(); };
  counter.stages = {{.name = "partner waits for the lock", .blocked = increment_as_partner}};

  counter.run();
}

TEST(KillStepTest, FindsTheHangOfAMutexThatIsNotRobust) {
  auto counter = counter_of(Kind::plain);
  counter.limit = 1s;
  counter.enough = 1;

  const KillReport report = counter.examine();

  EXPECT_EQ(report.hangs, 1U) << report.line();
  EXPECT_TRUE(says(report, "partner comes after, killed after instruction"));
  EXPECT_TRUE(says(report, "after: hangs"));
}

TEST(KillStepTest, FindsTwoWordsThatDiffer) {
  auto counter = counter_of(Kind::robust);
  counter.operation = [](Counter& it) {
    it->first = it->first + 1;  // without the lock
    it->second = it->second + 1;
  };
  counter.enough = 1000;
  const Exhaustive all_points;

  const KillReport report = counter.examine();

  EXPECT_GE(report.corrupt, 1U) << report.line();
  EXPECT_LT(report.corrupt, report.kill_points) << report.line();
  EXPECT_EQ(report.hangs + report.lost + report.leaked, 0U) << report.line();
  EXPECT_TRUE(says(report, "the two words differ"));
}

TEST(KillStepTest, FindsWhatIsLost) {
  struct Slots {
    volatile int here = 1;
    volatile int there = 0;
  };

  const KillStep<Inherited<Slots>> steps{
      .name = "move",
      .setup = [] { return Inherited<Slots>{}; },
      .operation =
          [](Inherited<Slots>& slots) {
            slots->here = 0;
            slots->there = 1;
          },
      .check =
          [](Inherited<Slots>& slots, Findings& found) {
            if (slots->here + slots->there == 0) found.lost("it is nowhere");
          },
      .enough = 1000,
  };

  const KillReport report = steps.examine();

  EXPECT_GE(report.lost, 1U) << report.line();
  EXPECT_LT(report.lost, report.kill_points) << report.line();
  EXPECT_EQ(report.hangs + report.corrupt + report.leaked, 0U) << report.line();
}

// glibc goes on counting a waiter that was killed: a later signal is for it, and nobody else gets that one.
struct Waiters {
  Waiters() {
    pthread_mutexattr_t of_mutex;
    ::pthread_mutexattr_init(&of_mutex);
    ::pthread_mutexattr_setpshared(&of_mutex, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&of_mutex, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutex_init(&mutex, &of_mutex);
    ::pthread_mutexattr_destroy(&of_mutex);
    pthread_condattr_t of_condition;
    ::pthread_condattr_init(&of_condition);
    ::pthread_condattr_setpshared(&of_condition, PTHREAD_PROCESS_SHARED);
    ::pthread_cond_init(&condition, &of_condition);
    ::pthread_condattr_destroy(&of_condition);
  }

  void own(int result) {
    if (result == EOWNERDEAD) ::pthread_mutex_consistent(&mutex);
  }
  // `waits_for` is seen by who holds the mutex only when this waiter is in the condition.
  void wait(int round, int& waits_for) {
    own(::pthread_mutex_lock(&mutex));
    waits_for = round;
    while (now < round) own(::pthread_cond_wait(&condition, &mutex));
    waits_for = 0;
    ::pthread_mutex_unlock(&mutex);
  }
  void signal(int round) {
    for (bool waits = false; !waits; ::sched_yield()) {
      own(::pthread_mutex_lock(&mutex));
      waits = partner_waits_for == round;
      if (waits) now = round;
      ::pthread_mutex_unlock(&mutex);
    }
    ::pthread_cond_signal(&condition);
  }

  pthread_mutex_t mutex;
  pthread_cond_t condition;
  int now = 0;
  int victim_waits_for = 0;
  int partner_waits_for = 0;
};

KillStep<Inherited<Waiters>> beside_a_waiter(int round_of_the_victim) {
  using State = Inherited<Waiters>;
  static constexpr int kRounds = 3;
  return {.name = "pthread_cond_wait",
          .setup = [] { return State{}; },
          .operation = [=](State& waiters) { waiters->wait(round_of_the_victim, waiters->victim_waits_for); },
          .warm_up = [](State& waiters) { waiters->wait(0, waiters->victim_waits_for); },
          .stages = {{.name = "partner waits too",
                      .blocked =
                          [](State& waiters) {
                            for (int i = 1; i <= kRounds; ++i) waiters->wait(i, waiters->partner_waits_for);
                          },
                      .after =
                          [](State& waiters) {
                            for (int i = 1; i <= kRounds; ++i) waiters->signal(i);
                          }}},
          .limit = 1s,
          .enough = 1};
}

TEST(KillStepTest, FindsTheHangOfAProcessSharedCondition) {
  const KillReport report = beside_a_waiter(1).examine();

  EXPECT_EQ(report.hangs, 1U) << report.line();
  EXPECT_TRUE(says(report, "killed asleep"));
}

TEST(KillStepTest, FindsNothingInAConditionForWhichTheVictimDoesNotWait) {
  auto steps = beside_a_waiter(0);
  steps.name = "no pthread_cond_wait";
  steps.limit = 5s;

  steps.run();
}

class MessageQueue {
 public:
  using Queue = boost::interprocess::message_queue;

  MessageQueue() : queue_(std::make_unique<Queue>(boost::interprocess::create_only, name_.c_str(), 4, sizeof(int))) {}
  MessageQueue(MessageQueue&&) = default;
  MessageQueue& operator=(MessageQueue&&) = delete;
  ~MessageQueue() {
    if (queue_) Queue::remove(name_.c_str());
  }

  void send(int number) { queue_->send(&number, sizeof number, 0); }
  // 0: there is none.
  int receive() {
    int number = 0;
    Queue::size_type size = 0;
    unsigned priority = 0;
    return queue_->try_receive(&number, sizeof number, size, priority) ? number : 0;
  }

 private:
  static inline int made_ = 0;

  std::string name_ = "kill-step-test." + std::to_string(::getpid()) + "." + std::to_string(++made_);
  std::unique_ptr<Queue> queue_;
};

TEST(KillStepTest, FindsThatABoostMessageQueueIsUnusableAfterwards) {
  const KillStep<MessageQueue> steps{
      .name = "boost message_queue::send",
      .setup = [] { return MessageQueue{}; },
      .operation = [](MessageQueue& queue) { queue.send(1); },
      .stages = {{.name = "partner comes after", .after = [](MessageQueue& queue) { queue.send(2); }}},
      .check =
          [](MessageQueue& queue, Findings& found) {
            const int first = queue.receive();
            const int second = queue.receive();
            if (first != 2 && second != 2) found.lost("what the partner sent");
          },
      .budget = multiproc::os::kAddressSanitizer ? 30s : 4s,
      .limit = 1s,
      .enough = 2,
  };

  const KillReport report = steps.examine();

  EXPECT_EQ(report.hangs + report.corrupt, 2U) << report.line();
}

TEST(KillStepTest, EveryInstructionIsAKillPoint) {
  constexpr int kSteps = 20;
  struct Progress {
    volatile int reached = 0;
  };
  const Inherited<std::array<std::atomic<int>, kSteps + 1>> seen;
  const Exhaustive all_points;

  const KillStep<Inherited<Progress>> steps{
      .name = "count",
      .setup = [] { return Inherited<Progress>{}; },
      .operation =
          [](Inherited<Progress>& progress) {
            for (int i = 1; i <= kSteps; ++i) progress->reached = i;
          },
      .check = [&](Inherited<Progress>& progress,
                   Findings&) { ++(*seen)[static_cast<std::size_t>(progress->reached)]; },
  };

  const KillReport report = steps.examine();

  EXPECT_TRUE(report.clean()) << report.line();
  EXPECT_EQ(report.kill_points, report.possible);
  EXPECT_EQ(report.astray, 0U) << "victims were led to another place";
  for (int i = 0; i <= kSteps; ++i) EXPECT_GE((*seen)[static_cast<std::size_t>(i)], 1) << i;
}

TEST(KillStepTest, ABudgetLeavesPointsOutInTheMiddleOnly) {
  struct Progress {
    volatile int reached = 0;
  };
  const Inherited<std::atomic<bool>> saw_the_end{false};
  constexpr int kSteps = 1000;

  if (std::getenv("MULTIPROC_KILL_STEP") != nullptr) GTEST_SKIP() << "all points: no budget";
  const KillStep<Inherited<Progress>> steps{
      .name = "count far",
      .setup = [] { return Inherited<Progress>{}; },
      .operation =
          [](Inherited<Progress>& progress) {
            for (int i = 1; i <= kSteps; ++i) progress->reached = i;
          },
      .check =
          [&](Inherited<Progress>& progress, Findings&) {
            if (progress->reached == kSteps) *saw_the_end = true;
          },
      .budget = 1ms,
  };

  const KillReport report = steps.examine();

  EXPECT_TRUE(report.clean()) << report.line();
  EXPECT_EQ(report.kill_points, multiproc::os::kAddressSanitizer ? 30U : 100U);
  EXPECT_EQ(report.astray, 0U);
  EXPECT_GT(report.possible, static_cast<std::size_t>(kSteps));
  EXPECT_TRUE(*saw_the_end);
}

TEST(KillStepTest, BothSidesOfEachSystemCallAreKillPoints) {
  struct Calls {
    volatile int made = 0;
  };

  const KillStep<Inherited<Calls>> steps{
      .name = "two calls",
      .setup = [] { return Inherited<Calls>{}; },
      .operation =
          [](Inherited<Calls>& calls) {
            ::syscall(SYS_getppid);
            calls->made = 1;
            ::syscall(SYS_getppid);
            calls->made = 2;
          },
      .kill_at = KillAt::every_system_call,
  };

  const KillReport report = steps.examine();

  EXPECT_TRUE(report.clean()) << report.line();
  EXPECT_EQ(report.kill_points, 6U) << "the beginning, twice two, and the end";
}

// Its file is removed by whoever finds it left; the harness compares before.
struct NamedFile {
  std::string path = "/dev/shm/kill-step-test." + std::to_string(::getpid());
};

TEST(KillStepTest, FindsANameThatIsLeftInSharedMemory) {
  const KillStep<NamedFile> steps{
      .name = "temporary name",
      .setup = [] { return NamedFile{}; },
      .operation =
          [](NamedFile& file) {
            const int fd = ::open(file.path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
            ::close(fd);
            ::unlink(file.path.c_str());
          },
      .kill_at = KillAt::every_system_call,
      .enough = 1,
  };

  const KillReport report = steps.examine();

  EXPECT_EQ(::unlink(NamedFile{}.path.c_str()), 0);
  EXPECT_EQ(report.leaked, 1U) << report.line();
  EXPECT_TRUE(says(report, "shared memory is left: /dev/shm/kill-step-test."));
}

TEST(KillStepTest, FindsAndKillsAnOrphan) {
  const KillStep<int> steps{
      .name = "fork",
      .setup = [] { return 0; },
      .operation =
          [](int&) {
            if (::fork() == 0) {
              for (;;) ::pause();
            }
          },
      .warm_up = [](int&) {},
      .kill_at = KillAt::every_system_call,
      .enough = 1,
  };

  const KillReport report = steps.examine();

  EXPECT_EQ(report.leaked, 1U) << report.line();
  EXPECT_TRUE(says(report, "child "));
}

TEST(KillStepTest, AnOperationThatThrowsIsNotExamined) {
  const auto thrower = [](Counter&) { throw std::runtime_error{"that was it"}; };
  auto counter = counter_of(Kind::robust);
  counter.warm_up = [](Counter&) {};
  counter.operation = thrower;

  try {
    counter.examine();
    FAIL() << "examined";
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "increment, partner comes after: operation: that was it");
  }
}

TEST(KillStepTest, APartnerThatIsToBeBlockedAndIsNotIsAMistakeOfTheTest) {
  auto counter = counter_of(Kind::robust);
  counter.stages = {{.name = "partner", .blocked = increment_as_partner}};

  EXPECT_THROW(counter.examine(), std::runtime_error);
}

TEST(KillStepTest, ACheckThatFailsAnExpectationOrThrowsIsCorrupt) {
  auto counter = counter_of(Kind::robust);
  counter.enough = 1;
  counter.check = [](Counter&, Findings&) { throw std::runtime_error{"what a state"}; };

  const KillReport report = counter.examine();

  EXPECT_EQ(report.corrupt, 1U);
  EXPECT_TRUE(says(report, "check: what a state"));
}

}  // namespace
