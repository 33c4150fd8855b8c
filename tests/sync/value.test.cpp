// SPDX-License-Identifier: MIT

#include <multiproc/sync/value.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/segment.hpp>

#include "os/os_test.hpp"
#include "process/wire.hpp"
#include "support/every_start_method.hpp"

namespace {

using multiproc::Acquired;
using multiproc::Process;
using multiproc::Value;

static_assert(multiproc::Sendable<Value<int>> && !multiproc::Shareable<Value<int>>);
static_assert(std::is_copy_constructible_v<Value<int>> && std::is_copy_assignable_v<Value<int>>);

// The memory that small objects share stays open for the life of the process: there is enough before the first test.
[[maybe_unused]] const auto room_for_small_objects = [] {
  for (;;) {
    multiproc::detail::Place place = multiproc::detail::take_place(multiproc::kCacheLine);
    if (place.segment->size() - place.offset > (std::size_t{100} << 10)) return place;
  }
}();

struct Point {
  int x = 1;
  int y = 2;
  bool operator==(const Point&) const = default;
};
struct Large {
  std::array<std::uint64_t, 4096> words;
};
struct alignas(4096) Page {
  std::byte bytes[4096];
};

TEST(ValueTest, HoldsWhatItIsGiven) {
  const Value<int> number(42);
  const Value<Point> point;
  const Value<double> zero;

  EXPECT_EQ(number.get(), 42);
  EXPECT_EQ(point.get(), Point{});
  EXPECT_EQ(zero.get(), 0.0);
  number.set(7);
  EXPECT_EQ(number.get(), 7);
  EXPECT_EQ(number.ref(), 7);
}

TEST(ValueTest, WithGivesWhatTheFunctionReturns) {
  const Value<int> number(42);

  EXPECT_EQ(number.with([](int& n) { return std::to_string(++n); }), "43");
  EXPECT_EQ(*number.with([](int& n) { return std::make_unique<int>(n); }), 43);
  number.with([](int& n) { n = 1; });
  EXPECT_EQ(number.get(), 1);
}

TEST(ValueTest, ACopyNamesTheSameValue) {
  Value<int> number(1);
  const Value<int> copy = number;
  const Value<int> other(1);

  number.set(2);

  EXPECT_EQ(copy.get(), 2);
  EXPECT_EQ(copy, number);
  EXPECT_NE(copy, other);
  EXPECT_EQ(&copy.ref(), &number.ref());
  EXPECT_EQ(copy.get_lock(), number.get_lock());
}

TEST(ValueTest, AFunctionThatThrowsChangesNothing) {
  const Value<Point> point;
  const auto fail = [](Point& here) {
    here.x = 77;
    throw std::runtime_error("no");
  };

  EXPECT_THROW(point.with(fail), std::runtime_error);

  EXPECT_EQ(point.get(), Point{});
  EXPECT_FALSE(point.get_lock().locked());
  EXPECT_THROW(point.with([&](Point& here) {
    here.y = 5;
    EXPECT_THROW(point.with(fail), std::runtime_error);
    EXPECT_EQ(here.x, 1);
    EXPECT_EQ(here.y, 5) << "the inner one undoes itself alone";
    throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_EQ(point.get(), Point{});
}

TEST(ValueTest, WhoHoldsTheLockUsesItAsEverybodyElse) {
  const Value<int> number(1);
  {
    const std::scoped_lock held(number.get_lock());
    number.set(number.get() + 1);
    number.with([](int& n) { ++n; });
    EXPECT_TRUE(number.get_lock().is_mine());
  }
  EXPECT_EQ(number.get(), 3);
  EXPECT_EQ(number.with([&](int& n) {
    number.set(10);
    n += number.get();
    return number.with([](int& same) { return ++same; });
  }),
            21);
  EXPECT_FALSE(number.get_lock().locked());
}

TEST(ValueTest, LargeAndAlignedOnesHaveMemoryOfTheirOwn) {
  const Value<Large> large(Large{});
  const Value<Page> page;

  large.with([](Large& here) { std::iota(here.words.begin(), here.words.end(), 0U); });

  EXPECT_EQ(large.get().words[4095], 4095U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&page.ref()) % 4096, 0U);
  const auto same = multiproc::decode<Value<Large>>(multiproc::encode(large));
  EXPECT_EQ(same, large);
}

TEST(ValueTest, NoMemoryIsAnErrorThatSaysSo) {
  const os_test::Refusing refusing{"fallocate", ENOSPC};
  try {
    const Value<Large> large(Large{});
    ADD_FAILURE() << "made";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOSPC);
    EXPECT_NE(std::string(error.what()).find("ask for less"), std::string::npos) << error.what();
  }
}

TEST(ValueTest, ThreadsAndProcessesTogetherLoseNoIncrement) {
  constexpr int kRounds = 20'000;
  const Value<long> sum;
  const auto add = [&] {
    for (int i = 0; i < kRounds; ++i) sum.with([](long& n) { ++n; });
  };

  os_test::PlainChild first{[&] { std::thread(add).join(); }};
  os_test::PlainChild second{add};
  std::thread third(add);
  add();
  third.join();

  EXPECT_EQ(first.wait(), 0);
  EXPECT_EQ(second.wait(), 0);
  EXPECT_EQ(sum.get(), 4 * kRounds);
}

TEST(ValueTest, AProcessKilledInWithHasDoneNothingHoweverTheNextOneLooks) {
  for (int way = 0; way < 4; ++way) {
    const Value<Point> point;
    os_test::PlainChild victim{[&] {
      point.with([](Point& here) {
        here.x = 99;
        ::raise(SIGKILL);
      });
    }};
    EXPECT_TRUE(WIFSIGNALED(victim.wait()));

    switch (way) {
      case 0: EXPECT_EQ(point.get(), Point{}); break;
      case 1: point.with([](Point& here) { EXPECT_EQ(here, Point{}); }); break;
      case 2:
        EXPECT_EQ(point.get_lock().lock(), Acquired::owner_died);
        EXPECT_EQ(point.get(), Point{});
        point.get_lock().unlock();
        break;
      default:
        EXPECT_EQ(point.get_lock().lock(), Acquired::owner_died);
        EXPECT_EQ(point.ref(), Point{});
        point.get_lock().unlock();
    }
    point.set({5, 6});
    EXPECT_EQ(point.get(), (Point{5, 6}));
  }
}

// F forks: the child leaves with() by itself, by return or exception, while the parent is still in it.
TEST(ValueTest, AChildForkedInWithThatLeavesItTouchesNeitherValueNorLock) {
  for (const bool throws : {false, true}) {
    const Value<int> outer(1);
    const Value<Point> point;
    pid_t child = -1;
    const auto in_both = [&] {
      outer.with([&](int& one) {
        one = 2;
        point.with([&](Point& here) {
          here.x = 50;
          child = ::fork();
          if (child == 0) {
            if (throws) throw std::runtime_error("the child's");
            return;
          }
          int status = 0;
          EXPECT_EQ(::waitpid(child, &status, 0), child);
          EXPECT_EQ(status, 0);
          EXPECT_EQ(here.x, 50) << "the child put the old value back";
          EXPECT_EQ(one, 2);
          EXPECT_TRUE(point.get_lock().is_mine()) << "the child released the lock";
          EXPECT_TRUE(outer.get_lock().is_mine());
          throw std::domain_error("the parent's");
        });
      });
    };
    try {
      in_both();
      if (child == 0) ::_exit(throws ? 2 : 0);
      ADD_FAILURE() << "the parent's exception was lost";
    } catch (const std::runtime_error&) {
      ::_exit(throws ? 0 : 3);
    } catch (const std::domain_error&) {
      if (child == 0) ::_exit(4);
    }
    // The change was still the parent's to undo.
    EXPECT_EQ(point.get(), Point{});
    EXPECT_EQ(outer.get(), 1);
    EXPECT_FALSE(point.get_lock().locked());
    EXPECT_FALSE(outer.get_lock().locked());
  }
}

TEST(ValueTest, AHandleMayNameAnotherValueWithinWith) {
  Value<int> number(1);
  const Value<int> same = number;
  const Value<int> other(2);
  number.with([&](int& n) {
    n = 7;
    number = other;
  });
  EXPECT_EQ(same.get(), 7);
  EXPECT_EQ(other.get(), 2);
  EXPECT_FALSE(same.get_lock().locked());
  EXPECT_FALSE(other.get_lock().locked());

  Value<Large> last(Large{});
  last.with([&](Large& here) {
    last = Value<Large>(Large{});  // this was the only handle
    here.words[4095] = 1;
  });
  EXPECT_EQ(last.get().words[4095], 0U);
}

TEST(ValueTest, AVeryLargeOneIsNeverPutOnTheStack) {
  using Huge = std::array<char, std::size_t{16} << 20>;
  const Value<Huge> huge;
  const Value<Huge> copy(huge.ref());

  huge.with([](Huge& here) { here.back() = 1; });
  copy.set(huge.ref());
  copy.set(copy.ref());
  const auto fail = [](Huge& here) {
    here.back() = 2;
    throw std::runtime_error("no");
  };
  EXPECT_THROW(copy.with(fail), std::runtime_error);
  copy.with([&](Huge& here) {
    EXPECT_THROW(copy.with(fail), std::runtime_error);
    EXPECT_EQ(here.back(), 1);
    copy.set(here);
  });

  EXPECT_EQ(copy.with([](const Huge& here) { return here.back(); }), 1);
}

TEST(ValueTest, TheMemoryOfLargeOnesGoesWithTheirLastHandle) {
  using Block = std::array<char, 7000>;
  const auto before = os_test::descriptors().size();
  for (int i = 0; i < 300; ++i) const Value<Block> block;
  EXPECT_EQ(os_test::descriptors().size(), before);
}

TEST(ValueTest, AHeldLockOutlivesTheLastHandle) {
  const Value<int> other;
  const multiproc::Lock lock;
  (void)lock.lock();
  {
    const Value<Large> large(Large{});
    (void)large.get_lock().lock();
  }
  lock.unlock();
  other.set(1);
  EXPECT_EQ(other.get(), 1);
}

TEST(ValueTest, NoDescriptorIsAnErrorThatSaysForWhat) {
  const os_test::Refusing refusing{"memfd_create", EMFILE};
  try {
    const Value<Large> large(Large{});
    ADD_FAILURE() << "made";
  } catch (const std::system_error& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find("memfd_create: a Value of 32768 bytes: "), 0U) << text;
    EXPECT_NE(text.find("ulimit -n"), std::string::npos) << text;
  }
}

TEST(ValueTest, AnotherTypeIsRefusedWhenItArrives) {
  EXPECT_THROW((void)multiproc::decode<Value<Large>>(multiproc::encode(Value<Point>())), multiproc::Error);
}

class ValueInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(ValueInProcessesTest);

TEST_P(ValueInProcessesTest, TravelsAsAnArgument) {
  const Value<int> number(1);
  const Value<Large> large(Large{});
  Process child{options(),
                [](const Value<int>& mine, const Value<Large>& its) {
                  mine.with([](int& n) { n += 41; });
                  its.with([](Large& here) { here.words[4095] = 7; });
                },
                number, large};

  child.start();
  child.join();

  EXPECT_EQ(number.get(), 42);
  EXPECT_EQ(large.ref().words[4095], 7U);
}

}  // namespace
