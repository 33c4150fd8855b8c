// SPDX-License-Identifier: MIT
//
// shared_vector, shared_string, shared_map: what they hold, how they grow, and that killed processes leave them whole.

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <optional>
#include <random>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
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
  EXPECT_LE(heap.reserved - heap.first, std::size_t{64} << 10);
  EXPECT_LE(heap.journal_reserved, std::size_t{32} << 10);
  numbers.resize(1'000'000);
  EXPECT_GE(heap.reserved - heap.first, 8'000'000U);
  EXPECT_LE(heap.reserved - heap.first, 32'000'000U);
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
  const shared_map<int, int> map;
  for (int i = 0; i < 30'000; ++i) map.insert(i, i);
  const auto before = map.to_map();
  EXPECT_THROW(map.with([](const shared_map<int, int>& mine) {
    for (int i = 0; i < 30'000; ++i) mine.erase(i);
  }),
               multiproc::InvalidState);
  EXPECT_EQ(map.to_map(), before);
}

TEST(SharedContainersTest, ThousandsOfStepsMakeOneChange) {
  constexpr int kSteps = 20'000;
  const shared_vector<int> vector{1, 2};
  const shared_map<int, int> map{{-1, 5}};
  const shared_string text("a");
  const auto work = [&](const auto& end) {
    vector.with([&](const shared_vector<int>& mine) {
      for (int i = 0; i < kSteps; ++i) mine.push_back(i);
      map.with([&](const shared_map<int, int>& its) {
        for (int i = 0; i < kSteps; ++i) its.insert(i, i);
        text.with([&](const shared_string& letters) {
          for (int i = 0; i < kSteps; ++i) letters += 'b';
          end();
        });
      });
    });
  };
  const auto is_as_before = [&] {
    EXPECT_EQ(vector.to_vector(), (Ints{1, 2}));
    EXPECT_EQ(map.to_map(), (std::map<int, int>{{-1, 5}}));
    EXPECT_EQ(text, "a");
  };

  EXPECT_THROW(work([] { throw std::runtime_error("no"); }), std::runtime_error);
  is_as_before();
  os_test::PlainChild victim{[&] { work([] { ::raise(SIGKILL); }); }};
  EXPECT_TRUE(WIFSIGNALED(victim.wait()));
  is_as_before();
  work([] {});
  EXPECT_EQ(vector.size(), 2U + kSteps);
  EXPECT_EQ(vector.get(1 + kSteps), kSteps - 1);
  EXPECT_EQ(map.size(), 1U + kSteps);
  EXPECT_EQ(text.size(), 1U + kSteps);
}

TEST(SharedContainersTest, ThousandsOfInsertionsAmongManyMakeOneChange) {
  const shared_map<int, int> map;
  for (int i = 0; i < 20'000; ++i) map.insert(4 * i, i);
  const auto before = map.to_map();
  const auto work = [&](const auto& end) {
    map.with([&](const shared_map<int, int>& mine) {
      for (int i = 0; i < 4000; ++i) mine.insert(20 * i + 1, i);
      end();
    });
  };

  EXPECT_THROW(work([] { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_EQ(map.to_map(), before);
  work([] {});
  EXPECT_EQ(map.size(), 24'000U);
}

// A step that fails is undone alone, whatever stands around it.
TEST(SharedContainersTest, AStepThatThrowsIsUndoneAlone) {
  std::mt19937 random(11);
  const shared_vector<int> ours(Ints(50, 1));
  const shared_map<int, std::string> our_map;
  Ints theirs(50, 1);
  std::map<int, std::string> their_map;
  const auto change = [&](Ints& numbers, std::map<int, std::string>& texts, const shared_vector<int>& shared,
                          const shared_map<int, std::string>& shared_texts) {
    for (int i = 0; i < 20; ++i) {
      const auto at = random() % (numbers.size() + 1);
      const int key = static_cast<int>(random() % 20);
      if (random() % 2 == 0 || at == numbers.size()) {
        numbers.insert(numbers.begin() + static_cast<std::ptrdiff_t>(at), i);
        shared.insert(at, i);
      } else {
        numbers.erase(numbers.begin() + static_cast<std::ptrdiff_t>(at));
        shared.erase(at);
      }
      if (random() % 2 == 0) {
        texts[key].assign(random() % 100, 'x');
        shared_texts.insert_or_assign(key, texts[key]);
      } else {
        EXPECT_EQ(shared_texts.erase(key), texts.erase(key));
      }
    }
  };
  // Of each change and its parts every second one fails.
  const std::function<void(int)> nest = [&](int depth) {
    const Ints kept = theirs;
    const auto kept_map = their_map;
    try {
      ours.with([&](const shared_vector<int>& mine) {
        our_map.with([&](const shared_map<int, std::string>& texts) {
          if (depth > 0) nest(depth - 1);
          change(theirs, their_map, mine, texts);
          if (depth > 0) nest(depth - 1);
          if (random() % 2 == 0) throw std::runtime_error("no");
        });
      });
    } catch (const std::runtime_error&) {
      theirs = kept;
      their_map = kept_map;
    }
    ASSERT_EQ(ours.to_vector(), theirs);
    ASSERT_EQ(our_map.to_map(), their_map);
  };
  for (int i = 0; i < 60; ++i) nest(3);
}

TEST(SharedContainersTest, AChildThatLeavesWithUndoesAndCommitsNothing) {
  for (const bool throws : {true, false}) {
    const shared_vector<int> vector{1, 2, 3, 4};
    bool is_child = false;
    try {
      vector.with([&](const shared_vector<int>& mine) {
        mine.set(0, 100);
        vector.with([&](const shared_vector<int>& inner) {
          inner.push_back(5);
          const pid_t pid = ::fork();
          if (pid == 0) {
            is_child = true;
            if (throws) throw std::runtime_error("the child fails");
            return;
          }
          int status = 0;
          ASSERT_EQ(::waitpid(pid, &status, 0), pid);
          EXPECT_EQ(status, 0);
        });
        if (is_child) return;
        EXPECT_TRUE(vector.get_lock().is_mine());
        EXPECT_EQ(Ints(mine.begin(), mine.end()), (Ints{100, 2, 3, 4, 5}));
        throw std::runtime_error("the parent too");
      });
    } catch (const std::runtime_error&) {
    }
    if (is_child) ::_exit(vector.get_lock().is_mine() ? 1 : 0);
    EXPECT_EQ(vector.to_vector(), (Ints{1, 2, 3, 4})) << throws;
    EXPECT_FALSE(vector.get_lock().locked());
  }
}

TEST(SharedContainersTest, AHandleMayNameAnotherOneWithinWith) {
  shared_vector<int> vector{1};
  const shared_vector<int> kept = vector;
  const shared_vector<int> other{2};
  vector.with([&](const shared_vector<int>& mine) {
    mine.push_back(2);
    vector = other;
  });
  EXPECT_EQ(kept.to_vector(), (Ints{1, 2}));
  EXPECT_TRUE(vector == other);
  vector.with(0, [&](int& n) {
    n = 3;
    vector = kept;
  });
  EXPECT_EQ(other.get(0), 3);
  EXPECT_FALSE(kept.get_lock().locked() || other.get_lock().locked());

  shared_map<int, std::string> map;
  const shared_map<int, std::string> kept_map = map;
  map.with(1, [&](std::string& text) {
    text = "one";
    map = shared_map<int, std::string>();
  });
  EXPECT_EQ(kept_map.at(1), "one");
  EXPECT_TRUE(map.empty());

  // The last handle of a container whose lock is held.
  auto last = std::make_unique<shared_vector<int>>(Ints{1});
  last->with([&](const shared_vector<int>&) { last.reset(); });
}

TEST(SharedContainersTest, SmallerContentNeedsNoSecondBlock) {
  const multiproc::SharedContainerOptions options{.max_bytes = std::size_t{8} << 20};
  const shared_vector<int> vector(options);
  vector.reserve(1'600'000);
  vector.resize(1'500'000, 3);
  vector.assign(Ints{1, 2, 3});
  EXPECT_EQ(vector.to_vector(), (Ints{1, 2, 3}));
  vector.resize(1'500'000, 3);
  vector.erase(10, 1'490'000);
  EXPECT_EQ(vector.size(), 10'000U);
  vector.resize(1'500'000, 4);
  vector.erase(1'400'000);
  vector.insert(1'400'000, 9);
  EXPECT_EQ(vector.get(1'400'000), 9);
  vector.clear();
  EXPECT_TRUE(vector.empty());

  const shared_string text(std::string(std::size_t{5} << 20, 'a'), options);
  text = "x";
  EXPECT_EQ(text, "x");
}

TEST(SharedContainersTest, WhatNeedsItsSizeASecondTimeSaysSo) {
  const shared_vector<int> vector({.max_bytes = std::size_t{8} << 20});
  vector.resize(1'500'000, 3);
  try {
    vector.erase(0);
    ADD_FAILURE() << "had room";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), ENOSPC);
    EXPECT_NE(std::string(error.what()).find("beside the old"), std::string::npos) << error.what();
  }
  EXPECT_EQ(vector.size(), 1'500'000U);
  const shared_vector<int> half({.max_bytes = std::size_t{8} << 20});
  half.resize(600'000, 3);
  half.insert(0, 1);
  EXPECT_EQ(half.get(0), 1);
}

TEST(SharedMapTest, FreeBlocksAreSplitAndJoined) {
  const shared_map<int, std::string> map({.max_bytes = std::size_t{8} << 20});
  for (std::size_t length = 16; length < 40'000; length = length * 5 / 4) {
    for (int key = 0; key < 100; ++key) map.insert_or_assign(key, std::string(length, 'x'));
    for (int key = 0; key < 100; ++key) map.insert_or_assign(key, std::string(1, 'x'));
  }
  EXPECT_EQ(map.size(), 100U);
  EXPECT_EQ(map.at(99), "x");
  map.with([](const auto& mine) {
    for (int key = 0; key < 100; ++key) mine.erase(key);
  });
  map.insert(1, std::string(std::size_t{6} << 20, 'y'));  // all of it, in one block
  EXPECT_EQ(map.at(1).size(), std::size_t{6} << 20);
}

TEST(SharedMapTest, TakesAboutAsMuchMemoryAsIsInUse) {
  const shared_map<int, std::string> map;
  for (std::size_t length = 16; length < 100'000; length = length * 5 / 4) {
    for (int key = 0; key < 20; ++key) map.insert_or_assign(key, std::string(length, 'x'));
    for (int key = 0; key < 20; ++key) map.insert_or_assign(key, std::string(1, 'x'));
  }
  const auto& heap = head_of(map).heap;
  EXPECT_LE(heap.reserved - heap.first, 6 * std::size_t{20} * 100'000);
}

TEST(SharedVectorTest, TheAlignmentOfLargeBlocksOutlastsSplitting) {
  struct alignas(256) Wide {
    char letter;
  };
  const shared_map<int, Wide> map({.max_bytes = std::size_t{1} << 20});
  for (int round = 0; round < 5; ++round) {
    int count = 0;
    try {
      for (;; ++count) map.insert(count, {static_cast<char>(count)});
    } catch (const std::system_error&) {
    }
    EXPECT_GT(count, 1000);
    for (int key = 0; key < count; ++key) {
      const std::scoped_lock held(map.get_lock());
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(&map[key]) % 256, 0U);
      ASSERT_EQ(map[key].letter, static_cast<char>(key));
    }
    for (int key = round; key < count; ++key) map.erase(key);
  }
}

TEST(SharedContainersTest, AJournalThatLeadsOutOfTheSegmentIsRefused) {
  struct Case {
    std::uint64_t used, offset, size;
  };
  const std::uint64_t end = std::uint64_t{1} << 30;
  for (const Case& each : {Case{24, std::uint64_t{1} << 40, 8}, Case{24, end - 4, 8}, Case{24, end, 9},
                           Case{24, 4096, 8}, Case{24, 0, 8}, Case{24, ~std::uint64_t{0}, 8}, Case{8, 2'000'000, 8},
                           Case{24, 2'000'000, ~std::uint64_t{0} - 4}, Case{end, 2'000'000, 8}}) {
    const shared_vector<int> vector{1, 2, 3};
    const auto segment = segment_of(vector);
    auto& head = *reinterpret_cast<StoreHead*>(segment->begin());
    auto* const words = reinterpret_cast<std::uint64_t*>(segment->begin() + multiproc::detail::kJournalAt);
    words[1] = each.offset;
    words[2] = each.size;
    reinterpret_cast<std::uint64_t*>(&head.heap.journal)[2] = each.used;
    try {
      (void)vector.size();
      ADD_FAILURE() << each.used << ' ' << each.offset << ' ' << each.size;
    } catch (const multiproc::InvalidState& error) {
      EXPECT_NE(std::string(error.what()).find("corrupt"), std::string::npos) << error.what();
    }
    EXPECT_FALSE(vector.get_lock().locked());
    EXPECT_EQ(reinterpret_cast<std::uint64_t*>(&head.heap.journal)[2], each.used) << "and stays as it is";
  }
}

TEST(SharedVectorTest, AssignsAnotherOneAsItIsUnderItsLock) {
  const shared_vector<int> from(Ints(500, 1));
  const shared_vector<int> to;
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int i = 0; !stop; ++i) from.assign(Ints(500, i));
  });
  for (int i = 0; i < 500; ++i) {
    to.assign(from);
    const Ints now = to.to_vector();
    ASSERT_EQ(std::count(now.begin(), now.end(), now.at(0)), 500);
  }
  stop = true;
  writer.join();
  to.assign(to);
  EXPECT_EQ(to.size(), 500U);
  EXPECT_EQ(shared_vector<long>(to).size(), 500U);
}

TEST(SharedContainersTest, WhatIsLentStaysWhereItIs) {
  const shared_vector<int> vector{1, 2, 3};
  const auto refused = [&](const auto& act) {
    EXPECT_THROW(vector.with(0,
                             [&](int& n) {
                               n = 77;
                               act();
                             }),
                 multiproc::InvalidState);
    EXPECT_EQ(vector.to_vector(), (Ints{1, 2, 3}));
  };
  refused([&] { vector.insert(0, 9); });
  refused([&] { vector.push_back(9); });
  refused([&] { vector.reserve(1000); });
  refused([&] { vector.clear(); });
  vector.with(0, [&](int& n) {
    vector.set(1, 8);
    n = 77;
  });
  EXPECT_EQ(vector.to_vector(), (Ints{77, 8, 3}));
  vector.with([](const shared_vector<int>& mine) {
    mine.with(0, [](int& n) { n = 5; });
    mine.push_back(4);
  });
  EXPECT_EQ(vector.to_vector(), (Ints{5, 8, 3, 4}));

  const shared_map<int, int> map{{1, 1}, {2, 2}};
  EXPECT_THROW(map.with(1, [&](int&) { map.erase(1); }), multiproc::InvalidState);
  EXPECT_THROW(map.with(1, [&](int&) { map.clear(); }), multiproc::InvalidState);
  map.with(1, [&](int& n) {
    map.erase(2);
    for (int i = 3; i < 100; ++i) map.insert(i, i);
    n = 7;
  });
  EXPECT_EQ(map.at(1), 7);
  EXPECT_EQ(map.size(), 98U);
}

// With a text as its value the function gets a copy: the entry is lent all the same.
TEST(SharedContainersTest, AnEntryWithATextIsLentToo) {
  const shared_map<std::string, std::string> map{{"a long key of many letters", "x"}, {"b", "y"}};
  const auto before = map.to_map();
  const auto refused = [&](const std::string& key, const auto& act) {
    EXPECT_THROW(map.with(key,
                          [&](std::string& text) {
                            text = "new";
                            act();
                          }),
                 multiproc::InvalidState)
        << key;
    EXPECT_EQ(map.to_map(), before);
  };
  refused("b", [&] { map.erase("b"); });
  refused("b", [&] { map.clear(); });
  refused("c", [&] { map.erase("c"); });
  {
    const std::scoped_lock held(map.get_lock());
    const std::string_view key = (*map.begin()).first;  // where the map has it
    EXPECT_THROW(map.with(key,
                          [&](std::string& text) {
                            text = "new";
                            map.erase(key);
                          }),
                 multiproc::InvalidState);
    map.with(key, [&](std::string& text) {
      map.erase("b");
      map.insert_or_assign(key, "not this");
      for (int i = 0; i < 100; ++i) map.insert(std::to_string(i), "other");
      text += "!";
    });
  }
  EXPECT_EQ(map.at("a long key of many letters"), "x!");
  EXPECT_EQ(map.size(), 101U);
  EXPECT_EQ(map.with("fresh",
                     [&](std::string& text) {
                       EXPECT_TRUE(map.contains("fresh"));
                       text = "made";
                       return text.size();
                     }),
            4U);
  EXPECT_EQ(map.at("fresh"), "made");
  EXPECT_THROW(map.with("none", [](std::string&) { throw std::runtime_error("no"); }), std::runtime_error);
  EXPECT_FALSE(map.contains("none"));
}

TEST(SharedMapTest, ForEachIsOneChange) {
  const shared_map<std::string, int> map;
  const auto fill = [&] {
    map.clear();
    for (const char* const key : {"a", "b", "c", "d"}) map.insert(key, 1);
  };
  using Entries = std::map<std::string, int>;
  const auto assign = [](const auto& its) {
    its.for_each([&](std::string_view key, int n) { its.insert_or_assign(key, n + 10); });
  };
  const auto insert = [](const auto& its) {
    its.for_each([&](std::string_view key, int n) {
      if (key.size() == 1) its.insert(std::string(key) + "2", n + 1);  // and comes to it
      if (key == "b2") its.with("a", [&](int& a) { a = n + 100; });
    });
  };
  const auto erase = [](const auto& its) {
    Entries seen;
    its.for_each([&](std::string_view key, int n) {
      seen.emplace(key, n);
      if (key != "c") return;
      for (const char* const other : {"a", "b", "d"}) its.erase(other);
    });
    EXPECT_EQ(seen, (Entries{{"a", 1}, {"b", 1}, {"c", 1}}));
  };
  const auto nothing = [](const auto& its) {
    EXPECT_THROW(its.for_each([&](std::string_view key, int) {
      its.insert_or_assign("a", 5);
      its.insert("z", 5);
      if (key == "c") throw std::runtime_error("no");
    }),
                 std::runtime_error);
    EXPECT_THROW(its.for_each([&](std::string_view key, int) { its.erase(key); }), multiproc::InvalidState);
    EXPECT_THROW(its.for_each([&](std::string_view, int) { its.clear(); }), multiproc::InvalidState);
  };
  const auto check = [&](const auto& act, const Entries& expected) {
    fill();
    act(map);
    EXPECT_EQ(map.to_map(), expected);
    fill();
    map.with([&](const auto& mine) {
      mine.insert("y", 0);
      mine.erase("y");
      act(mine);
    });
    EXPECT_EQ(map.to_map(), expected) << "within with()";
    fill();
    EXPECT_THROW(map.with([&](const auto& mine) {
      act(mine);
      throw std::runtime_error("no");
    }),
                 std::runtime_error);
    EXPECT_EQ(map.to_map(), (Entries{{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}})) << "undone with the whole";
  };
  check(assign, {{"a", 11}, {"b", 11}, {"c", 11}, {"d", 11}});
  check(insert, {{"a", 102}, {"a2", 2}, {"b", 1}, {"b2", 2}, {"c", 1}, {"c2", 2}, {"d", 1}, {"d2", 2}});
  check(erase, {{"c", 1}});
  check(nothing, {{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}});
  EXPECT_FALSE(map.get_lock().locked());

  const shared_map<int, std::string> texts{{1, "one"}, {2, "two"}};
  texts.for_each([&](int key, std::string_view text) { texts.insert_or_assign(key, std::string(text) + "!"); });
  EXPECT_EQ(texts.to_map(), (std::map<int, std::string>{{1, "one!"}, {2, "two!"}}));
}

// Nearly full, with most of it free in small pieces: what a change gives back serves the next one, and what was free
// before serves this one.
TEST(SharedMapTest, AChangeThatGivesBackUsesWhatWasFree) {
  const shared_map<int, std::string> map({.max_bytes = std::size_t{1} << 20});
  int count = 0;
  try {
    for (;; ++count) map.insert(count, std::string(1000, 'x'));
  } catch (const std::system_error& full) {
    EXPECT_EQ(full.code().value(), ENOSPC);
  }
  ASSERT_GT(count, 500);
  for (int key = 0; key < count; ++key) {
    if (key % 20 != 0 && key != count - 1) map.erase(key);
  }
  const std::size_t left = map.size();
  for (int i = 0; i < 100; ++i) {
    map.with([&](const auto& mine) {
      mine.erase(0);
      mine.insert(0, std::string(1000, 'y'));
      mine.insert_or_assign(20, std::string(1001, 'z'));
      mine.insert_or_assign(20, std::string(500, 'z'));
      mine.insert_or_assign(40, std::string(5000, static_cast<char>('a' + i % 26)));  // joins pieces
    });
    ASSERT_EQ(map.at(0), std::string(1000, 'y'));
    ASSERT_EQ(map.at(20), std::string(500, 'z'));
    ASSERT_EQ(map.at(40), std::string(5000, static_cast<char>('a' + i % 26)));
  }
  EXPECT_EQ(map.size(), left);
  EXPECT_EQ(map.at(60), std::string(1000, 'x'));
}

// Changes and parts of them that fail, at random, in memory that is nearly full: against a std::map.
TEST(SharedMapTest, AgreesWithAMapWhereChangesFailInLittleMemory) {
  using Entries = std::map<int, std::string>;
  std::mt19937 random(7);
  const shared_map<int, std::string> map({.max_bytes = std::size_t{100} << 10});
  Entries model;
  std::size_t full = 0;
  std::size_t done = 0;
  const auto failing_part = [](const auto& mine, int key) {
    mine.with(key, [&](std::string& text) {
      text += "zz";
      mine.erase((key + 1) % 60);
      mine.insert_or_assign((key + 2) % 60, std::string(3000, 'q'));
      throw 1;
    });
  };
  for (int round = 0; round < 2000; ++round) {
    Entries work = model;
    try {
      map.with([&](const auto& mine) {
        for (auto steps = random() % 12; steps > 0; --steps) {
          const int key = static_cast<int>(random() % 60);
          switch (random() % 5) {
            case 0:
              mine.erase(key);
              work.erase(key);
              break;
            case 1:
            case 2: {
              const std::string text(random() % 6000, static_cast<char>('a' + key % 26));
              mine.insert_or_assign(key, text);
              work[key] = text;
              break;
            }
            case 3: try { failing_part(mine, key);
              } catch (const std::system_error&) {
              }
              break;
            default:
              mine.for_each([&](int each, std::string_view text) {
                if (each % 7 == 0) mine.insert_or_assign(each, std::string(text.substr(0, text.size() / 2)));
              });
              for (auto& [each, text] : work) {
                if (each % 7 == 0) text.resize(text.size() / 2);
              }
          }
        }
        if (random() % 3 == 0) throw 2;
      });
      model = std::move(work);
      ++done;
    } catch (int) {
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), ENOSPC);
      ++full;
    }
    ASSERT_EQ(map.to_map(), model) << round;
  }
  EXPECT_GT(done, 300U);
  EXPECT_GT(full, 0U) << "the memory was never short";
}

// On a thread's stack it would have no room.
TEST(SharedContainersTest, LargeElementsNeedNoStack) {
  struct Large {
    std::array<char, std::size_t{9} << 20> letters;
  };
  const auto large = std::make_unique<Large>();
  large->letters.back() = 'a';
  const shared_vector<Large> vector;
  vector.push_back(*large);
  vector.set(0, *large);
  vector.insert(0, *large);
  vector.emplace_back();
  vector.emplace_back(*large);
  vector.resize(5);
  {
    const std::scoped_lock held(vector.get_lock());
    vector.insert(0, vector.front());  // its own, which moves
    vector.set(3, vector[0]);
    vector.push_back(vector[1]);
  }
  std::string last;
  vector.with([&](const auto& mine) {
    for (const Large& each : mine) last += each.letters.back() == 'a' ? 'a' : '-';
  });
  EXPECT_EQ(last, "aaaaa-a");
  vector.clear();
  vector.resize(1, *large);
  vector.assign(std::span<const Large>(large.get(), 1));
  EXPECT_EQ(vector.size(), 1U);

  const shared_map<int, Large> map;
  map.with(1, [](Large& made) { made.letters[0] = 'b'; });
  const std::scoped_lock held(map.get_lock());
  EXPECT_EQ(map[1].letters[0], 'b');
  EXPECT_EQ(map[2].letters[0], '\0');
}

// Its owner would be taken for dead, or for oneself.
TEST(SharedContainersTest, AProcessOfAnotherPidNamespaceIsRefused) {
  const shared_vector<int> vector{1};
  const auto memory = segment_of(vector);
  (void)sync_test::handle_at<shared_vector<int>>({memory, 0});  // this process knows its own
  const auto child = support::in_child([&] {
    if (::unshare(CLONE_NEWPID) != 0) return 77;
    EXPECT_EQ(sync_test::handle_at<shared_vector<int>>({memory, 0}).size(), 1U) << "still in the old one";
    const auto inner = support::in_child([&] {
      try {
        (void)sync_test::handle_at<shared_vector<int>>({memory, 0});
        ADD_FAILURE() << "was taken";
      } catch (const multiproc::DecodeError& error) {
        EXPECT_NE(std::string(error.what()).find("pid namespace"), std::string::npos) << error.what();
      }
      const shared_vector<int> own{2};
      EXPECT_EQ(sync_test::handle_at<shared_vector<int>>({segment_of(own), 0}).size(), 1U);
    });
    EXPECT_EQ(inner.status, 0) << inner.out << inner.err;
    return testing::Test::HasFailure() ? 1 : 0;
  });
  if (child.status == 77) GTEST_SKIP() << "unshare(CLONE_NEWPID) is refused here";
  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

TEST(SharedVectorTest, IsMadeAsAVectorIs) {
  EXPECT_EQ(shared_vector<int>(3, 7).to_vector(), Ints(3, 7));
  const Ints numbers{4, 5, 6};
  EXPECT_EQ(shared_vector<int>(numbers.begin(), numbers.end()).to_vector(), numbers);
  const shared_vector deduced(numbers);
  static_assert(std::is_same_v<decltype(deduced), const shared_vector<int>>);
  const shared_vector from_two(numbers.begin() + 1, numbers.end());
  EXPECT_EQ(from_two.to_vector(), (Ints{5, 6}));
  const shared_vector listed{1.5, 2.5};
  static_assert(std::is_same_v<decltype(listed), const shared_vector<double>>);
  const shared_vector copied(deduced);
  EXPECT_TRUE(copied == deduced);
  EXPECT_EQ(shared_vector<bool>(std::vector<bool>{true, false}).to_vector(), (std::vector<bool>{true, false}));
  const std::scoped_lock held(deduced.get_lock());
  EXPECT_EQ(Ints(deduced.rbegin(), deduced.rend()), (Ints{6, 5, 4}));
  EXPECT_EQ(std::accumulate(deduced.cbegin(), deduced.cend(), 0), 15);
  EXPECT_EQ(shared_vector<int>().data(), nullptr);
}

TEST(SharedMapTest, ReadsAndWritesAsAMap) {
  const shared_map<int, std::string> map;
  map[3] = "x";
  map[3] += "y";
  EXPECT_EQ(map[3], "xy");
  EXPECT_TRUE(map.emplace(4, std::size_t{3}, 'z'));
  EXPECT_FALSE(map.emplace(4, "other"));
  EXPECT_EQ(map.at(4), "zzz");
  try {
    (void)map.at(17);
    ADD_FAILURE();
  } catch (const std::out_of_range& error) {
    EXPECT_NE(std::string(error.what()).find("17"), std::string::npos) << error.what();
  }
  EXPECT_THROW((void)(shared_map<std::string, int>().at("a")), std::out_of_range);
  static_assert(std::is_const_v<std::remove_reference_t<decltype(shared_map<int, std::array<int, 3>>().at(1))>>);
  static_assert(std::forward_iterator<shared_map<int, int>::iterator>);
  const std::scoped_lock held(map.get_lock());
  EXPECT_EQ(map.begin()->second, "xy");
  EXPECT_EQ(std::next(map.begin())->first, 4);
}

TEST(SharedStringTest, ReadsAsAString) {
  const shared_string text = "abc";
  text += "de";
  EXPECT_EQ(text.length(), 5U);
  EXPECT_EQ(fmt::format("<{:>6}>", text), "< abcde>");
  std::ostringstream out;
  out << text;
  EXPECT_EQ(out.str(), "abcde");
  EXPECT_TRUE(text != "x" && text == std::string("abcde"));
  const std::scoped_lock held(text.get_lock());
  EXPECT_EQ(text[1], 'b');
  EXPECT_EQ(text.front(), 'a');
  EXPECT_EQ(text.back(), 'e');
  EXPECT_EQ(std::string(text.begin(), text.end()), "abcde");
}

TEST(SharedContainersTest, AbsurdSizesAreNamed) {
  const auto complains = [](const auto& act) {
    try {
      act();
      ADD_FAILURE() << "no error";
    } catch (const std::exception& error) {
      EXPECT_NE(std::string(error.what()).find("negative number?"), std::string::npos) << error.what();
    }
  };
  const auto minus_one = static_cast<std::size_t>(-1);
  complains([&] { shared_vector<int>({.max_bytes = minus_one}); });
  complains([&] { shared_vector<int>().reserve(minus_one); });
  complains([&] { shared_vector<int>().resize(minus_one); });
  complains([&] { (void)shared_vector<int>(minus_one, 0); });
  EXPECT_THROW(shared_vector<int>({.max_bytes = std::size_t{1} << 48}), multiproc::Unsupported);
  EXPECT_NO_THROW(shared_vector<int>({.max_bytes = 1}).resize(1000));
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

TEST(SharedContainersTest, CorruptMemoryIsRefusedWhenItArrivesOrByTheFirstCall) {
  using multiproc::DecodeError;
  const auto arrives = [](const shared_vector<int>& vector) {
    return multiproc::decode<shared_vector<int>>(multiproc::encode(vector));
  };
  const shared_vector<int> vector{1, 2};
  StoreHead& head = head_of(vector);
  for (std::uint64_t* const word : {&head.stamp.magic, &head.stamp.size, &head.kind, &head.elements[0],
                                    &head.heap.first, &head.heap.limit, &head.heap.alignment}) {
    const std::uint64_t kept = std::exchange(*word, ~std::uint64_t{0} / 3);
    EXPECT_THROW((void)arrives(vector), DecodeError) << word - &head.stamp.magic;
    *word = kept;
  }
  for (std::uint64_t* const word : {&head.heap.top, &head.root[0], &head.root[1], &head.root[2]}) {
    const std::uint64_t kept = std::exchange(*word, ~std::uint64_t{0} / 3);
    EXPECT_THROW((void)arrives(vector).size(), multiproc::InvalidState) << word - &head.stamp.magic;
    EXPECT_FALSE(vector.get_lock().locked());
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

TEST_P(ContainersInProcessesTest, StartWhileTheirLockIsHeld) {
  const shared_vector<int> vector{1};
  const shared_string text("a");
  const shared_map<std::string, int> map;
  Process child{options(),
                [](const shared_vector<int>& its_vector, const shared_string& its_text,
                   const shared_map<std::string, int>& its_map) {
                  its_vector.push_back(2);
                  its_text += "b";
                  its_map.insert("two", 2);
                },
                vector, text, map};

  vector.with([&](const shared_vector<int>& mine) {
    mine.push_back(7);
    const std::scoped_lock held(text.get_lock(), map.get_lock());
    child.start();
  });
  child.join();

  EXPECT_EQ(child.exitcode(), 0);
  EXPECT_EQ(vector.to_vector(), (Ints{1, 7, 2}));
  EXPECT_EQ(text, "ab");
  EXPECT_EQ(map.size(), 1U);
}

}  // namespace
