// SPDX-License-Identifier: MIT

#include <multiproc/sync/array.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <limits>
#include <list>
#include <mutex>
#include <numeric>
#include <ranges>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/segment.hpp>

#include "os/os_test.hpp"
#include "support/every_start_method.hpp"

namespace {

using multiproc::Acquired;
using multiproc::Array;
using multiproc::Process;

// The memory that small objects share stays open for the life of the process: there is enough before the first test.
[[maybe_unused]] const auto room_for_small_objects = [] {
  for (;;) {
    multiproc::detail::Place place = multiproc::detail::take_place(multiproc::kCacheLine);
    if (place.segment->size() - place.offset > (std::size_t{32} << 10)) return place;
  }
}();

static_assert(multiproc::Sendable<Array<int>> && !multiproc::Shareable<Array<int>>);
static_assert(std::ranges::contiguous_range<Array<int>> && std::ranges::sized_range<const Array<int>>);

struct Item {
  int number = 3;
};
struct alignas(1024) Aligned {
  int number = 0;
};

TEST(ArrayTest, HasAsManyElementsAsAskedFor) {
  const Array<int> five(5);
  const Array<int> one{5};
  const Array<int> none(0);
  const Array<Item> items(2);

  EXPECT_EQ(five.size(), 5U);
  EXPECT_EQ(std::count(five.begin(), five.end(), 0), 5);
  EXPECT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0], 5);
  EXPECT_TRUE(none.empty());
  EXPECT_EQ(none.begin(), none.end());
  EXPECT_EQ(items[1].number, 3);
}

TEST(ArrayTest, IsMadeFromAnyRange) {
  const std::list<short> numbers{3, 1, 2};
  const Array<int> from_list(numbers);
  const Array from_vector(std::vector<double>{1.5, 2.5});
  const Array<int> from_view(std::views::iota(0, 4));

  EXPECT_EQ(std::vector<int>(from_list.begin(), from_list.end()), (std::vector<int>{3, 1, 2}));
  EXPECT_EQ(from_vector.back(), 2.5);
  EXPECT_EQ(from_view[3], 3);
}

TEST(ArrayTest, IsARandomAccessRange) {
  const Array<int> numbers{3, 1, 2};

  std::sort(numbers.begin(), numbers.end());
  const std::span<int> view = numbers;

  EXPECT_EQ(numbers.front(), 1);
  EXPECT_EQ(numbers.back(), 3);
  EXPECT_EQ(numbers.at(1), 2);
  EXPECT_EQ(*numbers.rbegin(), 3);
  EXPECT_EQ(view.data(), numbers.data());
  EXPECT_EQ(view.size(), 3U);
  EXPECT_THROW((void)numbers.at(3), std::out_of_range);
  numbers.fill(numbers[2]);
  EXPECT_EQ(std::accumulate(numbers.begin(), numbers.end(), 0), 9);
}

TEST(ArrayTest, ACopyNamesTheSameElements) {
  const Array<int> numbers(2);
  const Array<int> copy = numbers;

  numbers[1] = 7;

  EXPECT_EQ(copy[1], 7);
  EXPECT_EQ(copy, numbers);
  EXPECT_NE(copy, Array<int>(2));
  EXPECT_EQ(multiproc::decode<Array<int>>(multiproc::encode(copy)), numbers);
}

TEST(ArrayTest, WithHoldsTheLockOnce) {
  const Array<int> numbers{1, 2};

  EXPECT_EQ(numbers.with([&](std::span<int> all) {
    EXPECT_TRUE(numbers.get_lock().is_mine());
    return all[0] + numbers.with([](std::span<int> same) { return same[1]; });
  }),
            3);
  EXPECT_FALSE(numbers.get_lock().locked());
  const std::scoped_lock held(numbers.get_lock());
  numbers.with([](std::span<int> all) { all[0] = 5; });
  EXPECT_TRUE(numbers.get_lock().is_mine());
}

TEST(ArrayTest, WithTellsWhoAsksThatTheOwnerBeforeDied) {
  for (const bool asks : {true, false}) {
    const Array<int> numbers(2);
    os_test::PlainChild victim{[&] {
      numbers.with([](std::span<int> all) {
        all[0] = 1;
        ::raise(SIGKILL);
      });
    }};
    EXPECT_TRUE(WIFSIGNALED(victim.wait()));

    if (asks) {
      EXPECT_EQ(numbers.with([](std::span<int>, Acquired how) { return how; }), Acquired::owner_died);
    } else {
      EXPECT_EQ(numbers.with([](std::span<int> all) { return all[0]; }), 1);
    }
    EXPECT_EQ(numbers.with([](std::span<int>, Acquired how) { return how; }), Acquired::clean) << "told once";
  }
}

TEST(ArrayTest, AChildForkedInWithLeavesTheLockToItsParent) {
  const Array<int> numbers(1);
  pid_t child = -1;
  numbers.with([&](std::span<int>) {
    child = ::fork();
    if (child == 0) return;
    int status = 0;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
    EXPECT_TRUE(numbers.get_lock().is_mine());
  });
  if (child == 0) ::_exit(0);
  EXPECT_FALSE(numbers.get_lock().locked());
}

TEST(ArrayTest, AHandleMayNameAnotherArrayWithinWith) {
  Array<int> numbers(100'000);
  const Array<int> other(1);
  numbers.with([&](std::span<int> all) {
    numbers = other;  // it was the only handle
    all.back() = 1;
  });
  EXPECT_EQ(numbers, other);
  EXPECT_FALSE(other.get_lock().locked());
}

TEST(ArrayTest, AHeldLockOutlivesTheLastHandle) {
  const multiproc::Lock lock;
  (void)lock.lock();
  {
    const Array<int> numbers(1'000'000);
    (void)numbers.get_lock().lock();
  }
  lock.unlock();
  EXPECT_FALSE(lock.locked());
}

TEST(ArrayTest, OfBoolsIsMadeFromARangeThatCanBeReadOnce) {
  std::istringstream words("1 0 1");
  auto read = std::ranges::istream_view<int>(words) | std::views::transform([](int n) { return n != 0; });
  const Array<bool> flags(std::move(read));
  EXPECT_EQ(std::vector<bool>(flags.begin(), flags.end()), (std::vector<bool>{true, false, true}));
}

TEST(ArrayTest, NoDescriptorIsAnErrorThatSaysForWhat) {
  const os_test::Refusing refusing{"memfd_create", EMFILE};
  try {
    const Array<int> numbers(3);
    ADD_FAILURE() << "made";
  } catch (const std::system_error& error) {
    const std::string text = error.what();
    EXPECT_EQ(text.find("memfd_create: an Array of 3 elements of 4 bytes: "), 0U) << text;
    EXPECT_NE(text.find("ulimit -n"), std::string::npos) << text;
  }
}

TEST(ArrayTest, ANegativeNumberOfElementsIsAskedAfter) {
  try {
    const Array<double> numbers(static_cast<std::size_t>(-1));
    ADD_FAILURE() << "made";
  } catch (const std::system_error& error) {
    EXPECT_NE(std::string(error.what()).find("was it a negative number?"), std::string::npos) << error.what();
  }
}

TEST(ArrayTest, KeepsTheAlignmentOfItsElements) {
  const Array<Aligned> aligned(3);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(aligned.data()) % 1024, 0U);
}

TEST(ArrayTest, MoreThanThereIsSaysSizeAndRemedy) {
  for (const std::size_t count :
       {std::numeric_limits<std::size_t>::max(), std::numeric_limits<std::size_t>::max() / 8, std::size_t{1} << 50}) {
    try {
      const Array<std::uint64_t> array(count);
      ADD_FAILURE() << count;
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ENOMEM);
      EXPECT_NE(std::string(error.what()).find("ask for less"), std::string::npos) << error.what();
    }
  }
}

TEST(ArrayTest, OtherElementsAreRefusedWhenTheyArrive) {
  EXPECT_THROW((void)multiproc::decode<Array<int>>(multiproc::encode(Array<double>(2))), multiproc::Error);
}

class ArrayInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(ArrayInProcessesTest);

TEST_P(ArrayInProcessesTest, TravelsAsAnArgument) {
  const Array<int> numbers{1, 2, 3};
  const Array<int> none(0);
  Process child{options(),
                [](const Array<int>& mine, const Array<int>& nothing) {
                  mine.with([&](std::span<int> all) { all[2] = static_cast<int>(all.size() + nothing.size()) + 39; });
                },
                numbers, none};

  child.start();
  child.join();

  EXPECT_EQ(numbers[2], 42);
}

}  // namespace
