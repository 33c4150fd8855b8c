// SPDX-License-Identifier: MIT
//
// shared_vector, shared_string, shared_map: what they hold, how they grow, and that killed processes leave them whole.

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/sync/shared_map.hpp>
#include <multiproc/sync/shared_string.hpp>
#include <multiproc/sync/shared_vector.hpp>

#include "os/os_test.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"
#include "support/watchdog.hpp"
#include "sync/own_memory.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Process;
using multiproc::shared_map;
using multiproc::shared_string;
using multiproc::shared_vector;
using multiproc::detail::StoreHead;

static_assert(multiproc::Sendable<shared_vector<int>> && multiproc::Sendable<shared_string> &&
              multiproc::Sendable<shared_map<std::string, int>>);

using Ints = std::vector<int>;

// The segment that the parts of a message may stand in is there before the first test counts descriptors.
const multiproc::Lock first_in_its_segment;

struct PlaceKeeper {
  multiproc::os::Fd memory;
  void attach(multiproc::os::Fd fd) { memory = std::move(fd); }
  template <class T>
  void operator()(const T&) {}
};
template <class Container>
std::shared_ptr<multiproc::detail::Segment> segment_of(const Container& container) {
  PlaceKeeper keeper;
  multiproc::Travel<Container>::encode(keeper, container);
  return multiproc::detail::Segment::adopt(std::move(keeper.memory));
}
template <class Container>
StoreHead& head_of(const Container& container) {
  return *reinterpret_cast<StoreHead*>(segment_of(container)->begin());
}

TEST(SharedVectorTest, DoesWhatAVectorDoes) {
  shared_vector<int> numbers{1, 2, 3};
  EXPECT_EQ(numbers.size(), 3U);
  numbers.push_back(4);
  numbers.emplace_back(5);
  numbers.insert(0, 9);
  numbers.insert(6, 8);
  EXPECT_EQ(numbers.to_vector(), (Ints{9, 1, 2, 3, 4, 5, 8}));
  numbers.erase(1);
  numbers.erase(0, 2);
  numbers.pop_back();
  EXPECT_EQ(numbers.to_vector(), (Ints{3, 4, 5}));
  numbers.resize(5, 7);
  EXPECT_EQ(numbers.to_vector(), (Ints{3, 4, 5, 7, 7}));
  numbers.resize(2);
  numbers.set(1, numbers.get(0) + 10);
  EXPECT_EQ(numbers.to_vector(), (Ints{3, 13}));
  numbers.assign(std::list<short>{6, 7, 8, 9});
  EXPECT_EQ(numbers.to_vector(), (Ints{6, 7, 8, 9}));
  numbers.clear();
  EXPECT_TRUE(numbers.empty());
  EXPECT_EQ(shared_vector<int>(Ints(3, 4)).to_vector(), Ints(3, 4));
}

TEST(SharedVectorTest, IsARangeUnderItsLock) {
  shared_vector<int> numbers{3, 1, 2};
  const std::scoped_lock held(numbers.get_lock());

  std::sort(numbers.begin(), numbers.end());
  const auto at = numbers.insert(numbers.begin() + 1, numbers.back());
  EXPECT_EQ(*at, 3);
  EXPECT_EQ(Ints(numbers.begin(), numbers.end()), (Ints{1, 3, 2, 3}));
  EXPECT_EQ(*numbers.erase(numbers.begin()), 3);
  EXPECT_EQ(numbers.front(), 3);
  EXPECT_EQ(numbers[1], 2);
  EXPECT_EQ(numbers.at(2), 3);
}

TEST(SharedVectorTest, WhatIsOutOfRangeIsRefusedAndNothingHappens) {
  shared_vector<int> numbers{1};
  EXPECT_THROW((void)numbers.get(1), std::out_of_range);
  EXPECT_THROW(numbers.set(1, 0), std::out_of_range);
  EXPECT_THROW(numbers.insert(2, 0), std::out_of_range);
  EXPECT_THROW(numbers.erase(1), std::out_of_range);
  EXPECT_THROW((void)numbers.at(1), std::out_of_range);
  numbers.pop_back();
  EXPECT_THROW(numbers.pop_back(), std::out_of_range);
  EXPECT_FALSE(numbers.get_lock().locked());
}

TEST(SharedVectorTest, AgreesWithAVectorWhateverIsDone) {
  std::mt19937 random(7);
  shared_vector<int> ours;
  Ints theirs;
  for (int i = 0; i < 3000; ++i) {
    const auto at = theirs.empty() ? 0 : random() % theirs.size();
    switch (random() % 6) {
      case 0:
        ours.insert(at, i);
        theirs.insert(theirs.begin() + static_cast<std::ptrdiff_t>(at), i);
        break;
      case 1:
        if (theirs.empty()) break;
        ours.erase(at);
        theirs.erase(theirs.begin() + static_cast<std::ptrdiff_t>(at));
        break;
      case 2: {
        const std::size_t size = theirs.size() + random() % 50;
        ours.resize(size, i);
        theirs.resize(size, i);
        break;
      }
      default: ours.push_back(i); theirs.push_back(i);
    }
  }
  EXPECT_GT(theirs.size() * sizeof(int), head_of(ours).heap.journal.room()) << "moved to new blocks as well";
  EXPECT_EQ(ours.to_vector(), theirs);
}

TEST(SharedVectorTest, AllOrNothingHappensInWith) {
  shared_vector<int> numbers{1, 2, 3};
  const auto work = [](shared_vector<int>& mine) {
    mine.pop_back();
    mine.push_back(77);
    mine.insert(0, 5);
    mine.with(1, [](int& n) { n = 8; });
    for (int i = 0; i < 200; ++i) mine.push_back(i);
  };

  EXPECT_THROW(numbers.with([&](shared_vector<int>& mine) {
    work(mine);
    throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_EQ(numbers.to_vector(), (Ints{1, 2, 3}));

  os_test::PlainChild victim{[&] {
    numbers.with([&](shared_vector<int>& mine) {
      work(mine);
      ::raise(SIGKILL);
    });
  }};
  EXPECT_TRUE(WIFSIGNALED(victim.wait()));
  EXPECT_EQ(numbers.to_vector(), (Ints{1, 2, 3}));

  numbers.with(work);
  EXPECT_EQ(numbers.size(), 204U);
  EXPECT_EQ(numbers.get(1), 8);
}

TEST(SharedVectorTest, WhoTakesTheLockFromTheDeadSeesTheLastCompleteState) {
  shared_vector<int> numbers{1, 2, 3};
  os_test::PlainChild victim{[&] {
    numbers.with([&](shared_vector<int>& mine) {
      mine.insert(0, 9);
      ::raise(SIGKILL);
    });
  }};
  EXPECT_TRUE(WIFSIGNALED(victim.wait()));

  EXPECT_EQ(numbers.get_lock().lock(), multiproc::Acquired::owner_died);
  EXPECT_EQ(Ints(numbers.begin(), numbers.end()), (Ints{1, 2, 3}));
  numbers.get_lock().unlock();
}

TEST(SharedVectorTest, ItsLargestSizeIsALimitWithARemedy) {
  shared_vector<int> numbers({.max_bytes = std::size_t{1} << 20});
  std::size_t count = 0;
  try {
    for (;; ++count) numbers.push_back(1);
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOSPC);
    EXPECT_NE(std::string(error.what()).find("max_bytes"), std::string::npos) << error.what();
  }
  EXPECT_EQ(numbers.size(), count);
  EXPECT_GT(count * sizeof(int), std::size_t{700} << 10);
  EXPECT_THROW(numbers.resize(std::size_t{1} << 62), std::system_error);
  EXPECT_THROW(numbers.reserve(std::size_t{1} << 62), std::system_error);
  EXPECT_EQ(numbers.size(), count);
  numbers.pop_back();
  numbers.push_back(2);
  EXPECT_EQ(numbers.get(count - 1), 2);
}

TEST(SharedVectorTest, NoMemoryIsAnErrorThatChangesNothing) {
  shared_vector<int> numbers{1, 2, 3};
  {
    const os_test::Refusing refusing{"fallocate", ENOSPC, 1, 100};
    try {
      numbers.resize(1'000'000);
      ADD_FAILURE() << "reserved";
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ENOSPC);
      EXPECT_NE(std::string(error.what()).find("ask for less"), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(numbers.to_vector(), (Ints{1, 2, 3}));
  numbers.resize(1'000'000, 4);
  EXPECT_EQ(numbers.get(999'999), 4);
}

TEST(SharedVectorTest, LimitsOfTheProcessMakeItSmallerAndNothingWorse) {
  const auto result = support::in_child([] {
    const rlimit limit{8 << 20, 8 << 20};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    shared_vector<int> numbers;
    EXPECT_THROW(numbers.resize(std::size_t{4} << 20), std::system_error);
    numbers.resize(1000, 3);
    EXPECT_EQ(numbers.get(999), 3);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(SharedVectorTest, WithoutMemfdForkedChildrenShareIt) {
  const os_test::Refusing refusing{"memfd_create", EPERM, 1, 100};
  shared_vector<int> numbers;

  os_test::PlainChild child{[&] { numbers.resize(100'000, 5); }};

  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(numbers.get(99'999), 5);
  EXPECT_THROW((void)multiproc::encode(numbers), multiproc::Unsupported);
}

TEST(SharedVectorTest, EachRefusedCallIsAnErrorThatLeavesNothing) {
  for (const char* const call : {"memfd_create", "ftruncate", "fcntl", "mmap", "fstat", "fallocate"}) {
    const auto before = os_test::descriptors();
    const os_test::Refusing refusing{call, EMFILE};
    EXPECT_THROW(shared_vector<int>(), std::system_error) << call;
    EXPECT_EQ(os_test::descriptors(), before) << call;
  }
  const os_test::Refusing refusing{"fallocate", EINTR, 1, 3};
  EXPECT_TRUE(shared_vector<int>().empty());
}

TEST(SharedVectorTest, TakesMemoryAsItNeedsIt) {
  shared_vector<std::uint64_t> numbers;
  const auto& heap = head_of(numbers).heap;

  EXPECT_EQ(heap.limit, std::size_t{1} << 30);
  EXPECT_LE(heap.reserved, std::size_t{128} << 10);
  numbers.resize(1'000'000);
  EXPECT_GE(heap.reserved, 8'000'000U);
  EXPECT_LE(heap.reserved, 32'000'000U);
}

TEST(SharedStringTest, DoesWhatAStringDoes) {
  shared_string text("abc");
  text += "def";
  text += '!';
  text.insert(0, ">");
  EXPECT_EQ(text.str(), ">abcdef!");
  text.erase(1, 2);
  EXPECT_EQ(text, ">cdef!");
  text.erase(3);
  EXPECT_EQ(text, ">cd");
  {
    const std::scoped_lock held(text.get_lock());
    text.append(text.view());
    EXPECT_STREQ(text.c_str(), ">cd>cd");
  }
  text = "x";
  const std::string copy = text;
  EXPECT_EQ(copy, "x");
  text.clear();
  EXPECT_TRUE(text.empty());
  EXPECT_EQ(text, "");
  EXPECT_STREQ(shared_string().c_str(), "");
  EXPECT_THROW(text.insert(1, "a"), std::out_of_range);
  EXPECT_THROW(text.erase(1), std::out_of_range);
  text = std::string(300'000, 'y');
  text = std::string(200'000, 'z');
  EXPECT_EQ(text.str(), std::string(200'000, 'z'));
  EXPECT_THROW(text.with([](shared_string& mine) {
    mine = "short";
    throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_EQ(text.size(), 200'000U);
}

TEST(SharedMapTest, DoesWhatAMapDoes) {
  shared_map<int, double> map{{3, 0.3}, {1, 0.1}};
  EXPECT_TRUE(map.insert(2, 0.2));
  EXPECT_FALSE(map.insert(2, 9));
  EXPECT_FALSE(map.try_emplace(1));
  EXPECT_FALSE(map.insert_or_assign(1, 1.1));
  EXPECT_TRUE(map.insert_or_assign(4, 0.4));
  EXPECT_EQ(map.to_map(), (std::map<int, double>{{1, 1.1}, {2, 0.2}, {3, 0.3}, {4, 0.4}}));
  EXPECT_EQ(map.at(4), 0.4);
  EXPECT_EQ(map.find(5), std::nullopt);
  EXPECT_THROW((void)map.at(5), std::out_of_range);
  EXPECT_EQ(map.erase(4), 1U);
  EXPECT_EQ(map.erase(4), 0U);
  EXPECT_EQ(map.count(3), 1U);
  EXPECT_EQ(map.with(7, [](double& value) { return ++value; }), 1.0);
  EXPECT_THROW(map.with(8, [](double&) { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_FALSE(map.contains(8));
  map[7] += 1;
  double sum = 0;
  map.for_each([&](int, double value) { sum += value; });
  EXPECT_DOUBLE_EQ(sum, 1.1 + 0.2 + 0.3 + 2);
  map.clear();
  EXPECT_TRUE(map.empty());
  EXPECT_TRUE(map.insert(1, 1));
  EXPECT_EQ(map.size(), 1U);
}

TEST(SharedMapTest, TextsAreKeysAndValues) {
  shared_map<std::string, std::string> map;
  map.insert("one", "1");
  map.insert(std::string("two"), std::string_view("2"));
  map.with("two", [](std::string& value) { value += "!"; });
  map.with("none", [](std::string&) {});
  EXPECT_EQ(map.at("two"), "2!");
  EXPECT_EQ(map.at("none"), "");
  {
    const std::scoped_lock held(map.get_lock());
    std::string all;
    for (const auto [key, value] : map) all.append(key).append("=").append(value).append(" ");
    EXPECT_EQ(all, "none= one=1 two=2! ");
  }
  shared_map<std::string, int> count;
  for (const char* word : {"a", "b", "a"}) count.with(word, [](int& n) { ++n; });
  EXPECT_EQ(count.to_map(), (std::map<std::string, int>{{"a", 2}, {"b", 1}}));
}

TEST(SharedMapTest, AgreesWithAMapWhateverIsDoneAndUsesItsMemoryAgain) {
  std::mt19937 random(5);
  shared_map<int, std::string> ours;
  std::map<int, std::string> theirs;
  for (int i = 0; i < 20'000; ++i) {
    const int key = static_cast<int>(random() % 700);
    const std::string value(random() % 60, 'v');
    switch (random() % 3) {
      case 0: EXPECT_EQ(ours.erase(key), theirs.erase(key)); break;
      case 1: EXPECT_EQ(ours.insert(key, value), theirs.insert({key, value}).second); break;
      default: EXPECT_EQ(ours.insert_or_assign(key, value), theirs.insert_or_assign(key, value).second);
    }
  }
  EXPECT_EQ(ours.to_map(), theirs);
  EXPECT_LT(head_of(ours).heap.top - head_of(ours).heap.first, 700U * 300U);
}

TEST(SharedMapTest, AllOrNothingHappensInWith) {
  shared_map<std::string, std::string> map{{"a", "1"}, {"b", "2"}, {"c", "3"}};
  const auto before = map.to_map();
  const auto work = [](shared_map<std::string, std::string>& mine) {
    mine.erase("a");
    mine.insert("d", "4");
    mine.insert_or_assign("b", "two");
    mine.insert_or_assign("b", "TWO");
    mine.clear();
    mine.insert("e", "5");
  };

  EXPECT_THROW(map.with([&](auto& mine) {
    work(mine);
    throw std::runtime_error("no");
  }),
               std::runtime_error);
  EXPECT_EQ(map.to_map(), before);
  os_test::PlainChild victim{[&] {
    map.with([&](auto& mine) {
      work(mine);
      ::raise(SIGKILL);
    });
  }};
  EXPECT_TRUE(WIFSIGNALED(victim.wait()));
  EXPECT_EQ(map.to_map(), before);
  map.with(work);
  EXPECT_EQ(map.to_map(), (std::map<std::string, std::string>{{"e", "5"}}));
}

TEST(SharedMapTest, MoreThanCanBeUndoneIsRefusedAsAWhole) {
  shared_map<int, int> map{{-1, 5}};
  EXPECT_THROW(map.with([](auto& mine) {
    for (int i = 0; i < 100'000; ++i) mine.insert(i, i);
  }),
               multiproc::InvalidState);
  EXPECT_EQ(map.to_map(), (std::map<int, int>{{-1, 5}}));
}

TEST(SharedContainersTest, ACopyNamesTheSame) {
  shared_vector<int> vector{1};
  shared_vector<int> copy = vector;
  copy.push_back(2);
  EXPECT_EQ(vector.size(), 2U);
  EXPECT_TRUE(vector == copy);
  EXPECT_FALSE(vector == shared_vector<int>());
  EXPECT_TRUE((multiproc::decode<shared_vector<int>>(multiproc::encode(vector)) == vector));
}

TEST(SharedContainersTest, CorruptMemoryIsRefusedWhenItArrives) {
  using multiproc::DecodeError;
  const auto arrives = [](const shared_vector<int>& vector) {
    return multiproc::decode<shared_vector<int>>(multiproc::encode(vector));
  };
  const shared_vector<int> vector{1, 2};
  StoreHead& head = head_of(vector);
  for (std::uint64_t* const word : {&head.stamp.magic, &head.stamp.size, &head.kind, &head.elements[0], &head.heap.top,
                                    &head.heap.limit, &head.root[0], &head.root[1], &head.root[2]}) {
    const std::uint64_t kept = std::exchange(*word, ~std::uint64_t{0} / 3);
    EXPECT_THROW((void)arrives(vector), DecodeError) << word - &head.stamp.magic;
    *word = kept;
  }
  EXPECT_EQ(arrives(vector).size(), 2U);
}

TEST(SharedContainersTest, ThreadsAndProcessesTogetherLoseNothing) {
  constexpr int kRounds = 1000;
  shared_vector<int> vector;
  shared_map<int, int> map;
  const auto work = [&] {
    for (int i = 0; i < kRounds; ++i) {
      vector.push_back(i);
      map.with(i % 50, [](int& n) { ++n; });
    }
  };

  os_test::PlainChild child{work};
  std::thread thread(work);
  work();
  thread.join();

  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(vector.size(), 3U * kRounds);
  int sum = 0;
  map.for_each([&](int, int n) { sum += n; });
  EXPECT_EQ(sum, 3 * kRounds);
}

// Each worker's counter is raised in the change that puts in what it counts.
TEST(SharedContainersTest, ProcessesAreKilledAtRandomAndWhatIsThereAgrees) {
  constexpr int kWorkers = 4;
  constexpr int kKills = 80;
  shared_map<int, int> map;
  shared_vector<int> vector(Ints(kWorkers, 0));
  const auto work = [&](int me) {
    std::mt19937 random(static_cast<unsigned>(::getpid()));
    for (;;) {
      map.with([&](shared_map<int, int>& mine) {
        const int number = mine.with(-1 - me, [](int& n) { return n++; });
        mine.insert(me * 1'000'000 + number, number);
        if (number >= 100) {
          mine.erase(me * 1'000'000 + number - 100);
        }
      });
      vector.with([&](shared_vector<int>& mine) {
        mine.with(static_cast<std::size_t>(me), [](int& n) { ++n; });
        mine.insert(kWorkers + random() % (mine.size() - kWorkers + 1), me);
      });
      if (random() % 8 == 0) {
        map.insert_or_assign(-1000, static_cast<int>(random()));
        map.erase(-1000);
      }
    }
  };

  std::vector<std::unique_ptr<os_test::PlainChild>> workers;
  for (int me = 0; me < kWorkers; ++me) workers.push_back(std::make_unique<os_test::PlainChild>([&, me] { work(me); }));
  std::mt19937 random(3);
  for (int kill = 0; kill < kKills; ++kill) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 8000));
    const int which = static_cast<int>(random() % kWorkers);
    workers[static_cast<std::size_t>(which)].reset();  // killed
    workers[static_cast<std::size_t>(which)] = std::make_unique<os_test::PlainChild>([&, which] { work(which); });
  }
  workers.clear();

  const auto entries = map.to_map();
  const Ints all = vector.to_vector();
  std::size_t expected = 0;
  for (int me = 0; me < kWorkers; ++me) {
    const int number = entries.contains(-1 - me) ? entries.at(-1 - me) : 0;
    expected += number > 0 ? 1 + static_cast<std::size_t>(std::min(number, 100)) : 0;
    for (int i = std::max(0, number - 100); i < number; ++i) {
      ASSERT_TRUE(entries.contains(me * 1'000'000 + i)) << me << ": " << i << " of " << number;
    }
    EXPECT_EQ(std::count(all.begin() + kWorkers, all.end(), me), all[static_cast<std::size_t>(me)]);
    EXPECT_GT(number, 0);
  }
  EXPECT_EQ(entries.size() - entries.count(-1000), expected);
  EXPECT_EQ(map.size(), entries.size());
}

class ContainersInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(ContainersInProcessesTest);

TEST_P(ContainersInProcessesTest, TravelAsArguments) {
  shared_vector<int> vector{1};
  shared_string text("a");
  shared_map<std::string, int> map{{"one", 1}};
  Process child{options(),
                [](shared_vector<int> its_vector, shared_string its_text, shared_map<std::string, int> its_map) {
                  for (int i = 0; i < 100'000; ++i) its_vector.push_back(i);
                  its_text += "b";
                  its_map.insert("two", 2);
                },
                vector, text, map};

  child.start();
  child.join();

  EXPECT_EQ(vector.size(), 100'001U);
  EXPECT_EQ(vector.get(100'000), 99'999);
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(map.to_map(), (std::map<std::string, int>{{"one", 1}, {"two", 2}}));
}

}  // namespace
