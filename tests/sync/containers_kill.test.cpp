// SPDX-License-Identifier: MIT
//
// Value and the shared containers, killed after each instruction: the operation happened or it did not, the others go
// on, and no memory is lost.

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/shm/heap.hpp>
#include <multiproc/sync/shared_map.hpp>
#include <multiproc/sync/shared_string.hpp>
#include <multiproc/sync/shared_vector.hpp>
#include <multiproc/sync/value.hpp>

#include "support/kill_step.hpp"
#include "sync/own_memory.hpp"

namespace {

using multiproc::shared_map;
using multiproc::shared_string;
using multiproc::shared_vector;
using multiproc::Value;
using multiproc::detail::HeapHead;
using multiproc::detail::StoreHead;
using support::Findings;
using support::KillStage;
using support::KillStep;

constexpr std::size_t kMost = std::size_t{4} << 20;
constexpr int kMore = 10;

// ---- Value

struct Words {
  std::array<std::uint64_t, 8> words{};
};
static_assert(sizeof(Words) == 64);

Words all(std::uint64_t number) {
  Words made;
  made.words.fill(number);
  return made;
}

struct ValueState {
  ValueState() : place(sync_test::own_memory()), value(make(place)) {}
  static Value<Words> make(const sync_test::Place& at) {
    (void)multiproc::detail::make_value_head(at, sizeof(Words), alignof(Words));
    return sync_test::handle_at<Value<Words>>(at);
  }
  sync_test::Place place;
  Value<Words> value;
};

void check_value(ValueState& state, Findings& found) {
  const Words words = state.value.get();
  for (const std::uint64_t word : words.words) {
    if (word != words.words[0]) return found.corrupt("torn");
  }
  if (words.words[0] != kMore && words.words[0] != 1000 + kMore) found.lost("what a partner wrote");
  if (state.value.get_lock().locked()) found.corrupt("still locked");
}

KillStep<ValueState> value_steps(std::string name) {
  const auto use = [](ValueState& state) {
    for (int i = 0; i < kMore; ++i) {
      state.value.with([](Words& here) {
        for (std::uint64_t& word : here.words) ++word;
      });
    }
  };
  return {.name = std::move(name),
          .setup = [] { return ValueState{}; },
          .operation = {},
          .stages = {{.name = "partner comes after", .after = use}},
          .check = check_value};
}

TEST(ValueKillTest, Set) {
  auto set = value_steps("Value::set");
  set.operation = [](ValueState& state) { state.value.set(all(1000)); };
  set.run();
}

TEST(ValueKillTest, With) {
  auto with = value_steps("Value::with");
  with.operation = [](ValueState& state) {
    state.value.with([](Words& here) {
      for (std::uint64_t& word : here.words) word += 1000;
    });
  };
  with.run();
}

// ---- Containers

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

// Bytes in blocks that were given back.
std::uint64_t bytes_free(const std::byte* base) {
  const HeapHead& heap = reinterpret_cast<const StoreHead*>(base)->heap;
  std::uint64_t sum = 0;
  for (std::size_t index = 0; index < heap.free.size(); ++index) {
    const std::size_t quarter = index < 4 ? 0 : (index - 4) % 4;
    const std::size_t size = index < 4
                                 ? (index + 1) * 16
                                 : (std::size_t{1} << (6 + (index - 4) / 4)) + ((quarter + 1) << (4 + (index - 4) / 4));
    for (std::uint64_t at = heap.free[index]; at != 0; at = *reinterpret_cast<const std::uint64_t*>(base + at)) {
      sum += size;
    }
  }
  return sum;
}

// All that was cut from the segment is in use or free, up to what blocks of an odd size leave between them.
void check_memory(std::uint64_t used, const std::byte* base, Findings& found) {
  const StoreHead& head = *reinterpret_cast<const StoreHead*>(base);
  if (head.heap.journal.used() != 0) found.corrupt("the journal is not empty");
  if (head.heap.given != 0) found.corrupt("what was given back is not free");
  const std::uint64_t cut = head.heap.top - head.heap.first;
  const std::uint64_t known = used + bytes_free(base);
  if (known != cut) found.leaked(std::to_string(cut) + " bytes, known are " + std::to_string(known));
}

template <class Container, class Content>
struct Steps {
  using Act = std::function<void(Container&)>;
  using Read = std::function<Content(const Container&)>;

  Content before;
  Act operation;
  std::function<void(Content&)> expected;  // what the operation does to it
  Act more;                                // what the partner adds
  std::function<void(Content&)> expected_more;
  std::function<void(Container&, const Content&)> fill;
  Read read;
  std::function<std::uint64_t(const Container&, const Content&)> used;
  std::chrono::milliseconds budget{700};
  std::size_t most = kMost;

  void run(std::string name) const {
    KillStep<Container>{
        .name = std::move(name),
        .setup =
            [this] {
              Container made(multiproc::SharedContainerOptions{.max_bytes = most});
              fill(made, before);
              return made;
            },
        .operation = operation,
        .stages = {{.name = "partner comes after", .after = more}},
        .check =
            [this](Container& container, Findings& found) {
              Content without = before;
              Content with = before;
              expected(with);
              expected_more(without);
              expected_more(with);
              const Content now = read(container);
              if (now != without && now != with) found.corrupt("neither the old nor the new state");
              check_memory(used(container, now), segment_of(container)->begin(), found);
              if (container.get_lock().locked()) found.corrupt("still locked");
            },
        .budget = budget,
    }
        .run();
  }
};

using Ints = std::vector<int>;
using Vector = shared_vector<int>;

Ints counted(std::size_t count) {
  Ints numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

Steps<Vector, Ints> vector_steps(std::size_t count) {
  return {.before = counted(count),
          .operation = {},
          .expected = {},
          .more =
              [](Vector& vector) {
                for (int i = 0; i < kMore; ++i) vector.push_back(-i);
              },
          .expected_more =
              [](Ints& numbers) {
                for (int i = 0; i < kMore; ++i) numbers.push_back(-i);
              },
          .fill = [](Vector& vector, const Ints& numbers) { vector.assign(numbers); },
          .read = [](const Vector& vector) { return vector.to_vector(); },
          .used = [](const Vector& vector, const Ints&) { return vector.capacity() * sizeof(int); }};
}

TEST(SharedVectorKillTest, PushBack) {
  auto steps = vector_steps(17);  // of 20 in a block of 80 bytes
  steps.operation = [](Vector& vector) { vector.push_back(1000); };
  steps.expected = [](Ints& numbers) { numbers.push_back(1000); };
  steps.run("shared_vector::push_back");
}

TEST(SharedVectorKillTest, PushBackThatGrows) {
  auto steps = vector_steps(16);
  steps.operation = [](Vector& vector) { vector.push_back(1000); };
  steps.expected = [](Ints& numbers) { numbers.push_back(1000); };
  steps.run("shared_vector::push_back, grows");

  steps = vector_steps(16384);  // 64 KiB: new memory is reserved
  steps.operation = [](Vector& vector) { vector.push_back(1000); };
  steps.expected = [](Ints& numbers) { numbers.push_back(1000); };
  steps.run("shared_vector::push_back, reserves");
}

TEST(SharedVectorKillTest, InsertInTheMiddle) {
  auto steps = vector_steps(30);
  steps.operation = [](Vector& vector) { vector.insert(3, 1000); };
  steps.expected = [](Ints& numbers) { numbers.insert(numbers.begin() + 3, 1000); };
  steps.run("shared_vector::insert");

  steps = vector_steps(270'000);  // more than the journal holds: into a new block
  steps.operation = [](Vector& vector) { vector.insert(3, 1000); };
  steps.expected = [](Ints& numbers) { numbers.insert(numbers.begin() + 3, 1000); };
  steps.run("shared_vector::insert, in a new block");
}

TEST(SharedVectorKillTest, Erase) {
  auto steps = vector_steps(30);
  steps.operation = [](Vector& vector) { vector.erase(3, 2); };
  steps.expected = [](Ints& numbers) { numbers.erase(numbers.begin() + 3, numbers.begin() + 5); };
  steps.run("shared_vector::erase");
}

TEST(SharedVectorKillTest, EraseInANewBlock) {
  auto steps = vector_steps(270'000);
  steps.operation = [](Vector& vector) { vector.erase(3, 2); };
  steps.expected = [](Ints& numbers) { numbers.erase(numbers.begin() + 3, numbers.begin() + 5); };
  steps.run("shared_vector::erase, in a new block");
}

TEST(SharedVectorKillTest, Resize) {
  auto steps = vector_steps(5);
  steps.operation = [](Vector& vector) { vector.resize(100, 7); };
  steps.expected = [](Ints& numbers) { numbers.resize(100, 7); };
  steps.run("shared_vector::resize");
}

TEST(SharedVectorKillTest, SetAndAssign) {
  auto steps = vector_steps(5);
  steps.operation = [](Vector& vector) { vector.set(2, 1000); };
  steps.expected = [](Ints& numbers) { numbers[2] = 1000; };
  steps.run("shared_vector::set");

  steps.operation = [](Vector& vector) { vector.assign({7, 8, 9}); };
  steps.expected = [](Ints& numbers) { numbers = {7, 8, 9}; };
  steps.run("shared_vector::assign");
}

TEST(SharedVectorKillTest, SeveralInOne) {
  auto steps = vector_steps(5);
  steps.operation = [](Vector& vector) {
    vector.with([](Vector& mine) {
      mine.pop_back();
      mine.push_back(9);
      mine.insert(0, 8);
    });
  };
  steps.expected = [](Ints& numbers) {
    numbers.back() = 9;
    numbers.insert(numbers.begin(), 8);
  };
  steps.run("shared_vector::with");
}

// A part that fails is undone alone, in memory that the others see.
TEST(SharedVectorKillTest, APartThatThrows) {
  auto steps = vector_steps(5);
  steps.operation = [](Vector& vector) {
    vector.with([](Vector& mine) {
      mine.push_back(9);
      try {
        mine.with([](Vector& part) {
          part.insert(0, 7);
          part.pop_back();
          throw 1;
        });
      } catch (int) {
      }
      mine.push_back(8);
    });
  };
  steps.expected = [](Ints& numbers) {
    numbers.push_back(9);
    numbers.push_back(8);
  };
  steps.budget = std::chrono::milliseconds{2500};
  steps.run("shared_vector::with, a part throws");
}

// In a process that ends in the middle of it.
template <class F>
void dies_in(F&& change) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    change();
    ::_exit(1);
  }
  int status = 0;
  if (::waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status)) throw std::runtime_error("it did not die");
}

TEST(SharedVectorKillTest, TheUndoing) {
  auto steps = vector_steps(17);
  steps.fill = [](Vector& vector, const Ints& numbers) {
    vector.assign(numbers);
    dies_in([&] {
      vector.with([](Vector& mine) {
        mine.set(0, 5);
        mine.insert(2, 9);
        for (int i = 0; i < 30; ++i) mine.push_back(i);
        ::raise(SIGKILL);
      });
    });
  };
  steps.operation = [](Vector& vector) { (void)vector.size(); };
  steps.expected = [](Ints&) {};
  steps.run("shared_vector: what a dead owner began is undone");
}

using Map = shared_map<int, int>;
using Pairs = std::map<int, int>;

Steps<Map, Pairs> map_steps() {
  Pairs before;
  for (int i = 0; i < 40; ++i) before[i * 3] = i;
  return {.before = before,
          .operation = {},
          .expected = {},
          .more =
              [](Map& map) {
                for (int i = 0; i < kMore; ++i) map.insert(-i - 1, i);
              },
          .expected_more =
              [](Pairs& pairs) {
                for (int i = 0; i < kMore; ++i) pairs.insert({-i - 1, i});
              },
          .fill =
              [](Map& map, const Pairs& pairs) {
                for (const auto& [key, value] : pairs) map.insert(key, value);
              },
          .read =
              [](const Map& map) {
                Pairs pairs = map.to_map();
                for (const auto& [key, value] : pairs) {
                  if (map.find(key) != value) return Pairs{};  // the list has it, the tree has not
                }
                return map.size() == pairs.size() ? pairs : Pairs{};
              },
          .used = [](const Map&, const Pairs& pairs) { return pairs.size() * 48; }};
}

TEST(SharedMapKillTest, Insert) {
  auto steps = map_steps();
  for (const int key : {1, 61, 118}) {  // at other places of the tree, one of them is split
    steps.operation = [key](Map& map) { map.insert(key, 1000); };
    steps.expected = [key](Pairs& pairs) { pairs[key] = 1000; };
    steps.run("shared_map::insert(" + std::to_string(key) + ")");
  }
}

TEST(SharedMapKillTest, Erase) {
  auto steps = map_steps();
  for (const int key : {0, 60}) {
    steps.operation = [key](Map& map) { map.erase(key); };
    steps.expected = [key](Pairs& pairs) { pairs.erase(key); };
    steps.run("shared_map::erase(" + std::to_string(key) + ")");
  }
}

TEST(SharedMapKillTest, InsertOrAssign) {
  auto steps = map_steps();
  steps.operation = [](Map& map) { map.insert_or_assign(30, 1000); };
  steps.expected = [](Pairs& pairs) { pairs[30] = 1000; };
  steps.run("shared_map::insert_or_assign");
}

TEST(SharedMapKillTest, With) {
  auto steps = map_steps();
  for (const int key : {30, 31}) {
    steps.operation = [key](Map& map) { map.with(key, [](int& value) { value += 1000; }); };
    steps.expected = [key](Pairs& pairs) { pairs[key] += 1000; };
    steps.run("shared_map::with(" + std::to_string(key) + ")");
  }
}

TEST(SharedMapKillTest, Subscript) {
  auto steps = map_steps();
  steps.operation = [](Map& map) { (void)map[31]; };
  steps.expected = [](Pairs& pairs) { pairs[31]; };
  steps.run("shared_map::operator[]");
}

TEST(SharedMapKillTest, SeveralInOne) {
  auto steps = map_steps();
  steps.operation = [](Map& map) {
    map.with([](Map& mine) {
      mine.erase(30);
      mine.insert(31, 5);
      try {
        mine.with([](Map& part) {
          part.erase(60);
          part.insert(32, 6);
          throw 1;
        });
      } catch (int) {
      }
      mine.insert_or_assign(33, 7);
    });
  };
  steps.expected = [](Pairs& pairs) {
    pairs.erase(30);
    pairs[31] = 5;
    pairs[33] = 7;
  };
  steps.budget = std::chrono::milliseconds{2500};
  steps.run("shared_map::with, a part throws");
}

TEST(SharedMapKillTest, TheUndoing) {
  auto steps = map_steps();
  steps.fill = [](Map& map, const Pairs& pairs) {
    for (const auto& [key, value] : pairs) map.insert(key, value);
    dies_in([&] {
      map.with([](Map& mine) {
        for (int i = 0; i < 20; ++i) mine.erase(i * 3);
        for (int i = 0; i < 20; ++i) mine.insert(i * 3 + 1, i);
        ::raise(SIGKILL);
      });
    });
  };
  steps.operation = [](Map& map) { (void)map.size(); };
  steps.expected = [](Pairs&) {};
  steps.run("shared_map: what a dead owner began is undone");
}

TEST(SharedMapKillTest, Clear) {
  auto steps = map_steps();
  steps.operation = [](Map& map) { map.clear(); };
  steps.expected = [](Pairs& pairs) { pairs.clear(); };
  steps.run("shared_map::clear");
}

using Texts = std::map<std::string, std::string>;
using TextMap = shared_map<std::string, std::string>;

TEST(SharedMapKillTest, TextsInsertAssignErase) {
  Steps<TextMap, Texts> steps{.before = {{"a", "1"}, {"b", "2"}, {"c", "3"}},
                              .operation = [](TextMap& map) { map.insert("between", "new"); },
                              .expected = [](Texts& texts) { texts["between"] = "new"; },
                              .more =
                                  [](TextMap& map) {
                                    for (int i = 0; i < kMore; ++i) map.insert("more " + std::to_string(i), "value");
                                  },
                              .expected_more =
                                  [](Texts& texts) {
                                    for (int i = 0; i < kMore; ++i) texts["more " + std::to_string(i)] = "value";
                                  },
                              .fill =
                                  [](TextMap& map, const Texts& texts) {
                                    for (const auto& [key, value] : texts) map.insert(key, value);
                                  },
                              .read = [](const TextMap& map) { return map.to_map(); },
                              .used = [](const TextMap&, const Texts& texts) { return texts.size() * (80 + 16 + 16); }};
  steps.run("shared_map<string, string>::insert");

  steps.operation = [](TextMap& map) { map.insert_or_assign("b", "other"); };
  steps.expected = [](Texts& texts) { texts["b"] = "other"; };
  steps.run("shared_map<string, string>::insert_or_assign");

  steps.operation = [](TextMap& map) { map.erase("b"); };
  steps.expected = [](Texts& texts) { texts.erase("b"); };
  steps.run("shared_map<string, string>::erase");

  for (const char* const key : {"b", "between"}) {
    steps.operation = [key](TextMap& map) { map.with(key, [](std::string& text) { text = "other"; }); };
    steps.expected = [key](Texts& texts) { texts[key] = "other"; };
    steps.run("shared_map<string, string>::with(" + std::string(key) + ")");
  }
}

// Of texts by number, in 64 KiB.
using Long = std::map<int, std::string>;
using LongMap = shared_map<int, std::string>;

Steps<LongMap, Long> steps_of_long_texts(Long before) {
  Steps<LongMap, Long> steps{.before = std::move(before),
                             .operation = {},
                             .expected = {},
                             .more =
                                 [](LongMap& map) {
                                   for (int i = 0; i < kMore; ++i) map.insert(-i - 1, "more");
                                 },
                             .expected_more =
                                 [](Long& texts) {
                                   for (int i = 0; i < kMore; ++i) texts[-i - 1] = "more";
                                 },
                             .fill = {},
                             .read = [](const LongMap& map) { return map.to_map(); },
                             .used =
                                 [](const LongMap&, const Long& texts) {
                                   std::uint64_t sum = 0;
                                   for (const auto& entry : texts) {
                                     sum += multiproc::detail::Heap::rounded(64) +
                                            multiproc::detail::Heap::rounded(entry.second.size());
                                   }
                                   return sum;
                                 }};
  steps.budget = std::chrono::milliseconds{2500};
  steps.most = std::size_t{64} << 10;
  return steps;
}

// A text for which free blocks are joined, and one for which a larger one is split.
TEST(SharedMapKillTest, InsertWhereFreeBlocksAreJoinedOrSplit) {
  const std::string part(1024, 'h');
  auto steps = steps_of_long_texts({{1, "1"}, {2, std::string(std::size_t{10} << 10, 'e')}});
  // Neighbours that are free, and what is in use behind them, to the end of the segment.
  steps.fill = [part](LongMap& map, const Long& texts) {
    for (int i = 10; i < 60; ++i) map.insert(i, part);
    for (const auto& [key, value] : texts) map.insert(key, value);
    for (int i = 10; i < 60; ++i) map.erase(i);
  };
  const std::string large(2000, 'l');
  steps.operation = [large](LongMap& map) { map.insert(5, large); };
  steps.expected = [large](Long& texts) { texts[5] = large; };
  steps.run("shared_map::insert, joins free blocks");

  const std::string small(700, 's');
  steps.operation = [small](LongMap& map) { map.insert(5, small); };
  steps.expected = [small](Long& texts) { texts[5] = small; };
  steps.run("shared_map::insert, splits a free block");
}

// What one change gave back is made free at the beginning of the next, and a change that gives back takes what was
// free before.
TEST(SharedMapKillTest, WhatWasGivenBackIsTakenAgain) {
  const std::string part(1024, 'h');
  auto steps = steps_of_long_texts({{1, "1"}, {2, std::string(2000, 'e')}, {3, "3"}});
  // To the end of the segment; the erased ones are one change, the last before the operation.
  steps.fill = [](LongMap& map, const Long& texts) {
    for (const auto& [key, value] : texts) map.insert(key, value);
    int last = 10;
    for (const std::size_t length : {16384UL, 4096UL, 1024UL, 0UL}) {
      try {
        for (;; ++last) map.insert(last, std::string(length, 'h'));
      } catch (const std::system_error&) {
      }
    }
    map.with([](LongMap& mine) {
      std::vector<int> gone;
      mine.for_each([&](int key, std::string_view) {
        if (key >= 10) gone.push_back(key);
      });
      for (const int key : gone) mine.erase(key);
    });
  };
  steps.operation = [](LongMap& map) { map.insert(5, "five"); };
  steps.expected = [](Long& texts) { texts[5] = "five"; };
  steps.run("shared_map::insert, after a change that gave back");

  steps.operation = [part](LongMap& map) {
    map.with([&](LongMap& mine) {
      mine.erase(2);
      mine.insert(2, part);
      try {
        mine.with([&](LongMap& inner) {
          inner.erase(3);
          inner.insert(6, part);
          throw 1;
        });
      } catch (int) {
      }
      mine.insert_or_assign(1, std::string(1500, 'n'));
    });
  };
  steps.expected = [part](Long& texts) {
    texts[2] = part;
    texts[1] = std::string(1500, 'n');
  };
  steps.run("shared_map::with, gives back and takes");
}

TEST(SharedMapKillTest, ForEach) {
  auto steps = map_steps();
  steps.before = {{3, 1}, {6, 2}, {9, 3}};
  steps.operation = [](Map& map) {
    map.for_each([&](int key, int value) {
      map.insert_or_assign(key, value + 1000);
      if (key == 3) map.erase(6);
    });
  };
  steps.expected = [](Pairs& pairs) { pairs = {{3, 1001}, {9, 1003}}; };
  steps.budget = std::chrono::milliseconds{1500};
  steps.run("shared_map::for_each");
}

TEST(SharedStringKillTest, AppendAssignInsertErase) {
  Steps<shared_string, std::string> steps{
      .before = "a text of some letters",
      .operation = [](shared_string& text) { text += " and some more, so that it has to grow"; },
      .expected = [](std::string& text) { text += " and some more, so that it has to grow"; },
      .more =
          [](shared_string& text) {
            for (int i = 0; i < kMore; ++i) text += '!';
          },
      .expected_more = [](std::string& text) { text += std::string(kMore, '!'); },
      .fill = [](shared_string& text, const std::string& letters) { text = letters; },
      .read = [](const shared_string& text) { return text.str(); },
      .used =
          [](const shared_string& text, const std::string&) {
            return reinterpret_cast<const StoreHead*>(segment_of(text)->begin())->root[2];
          }};
  steps.run("shared_string::append");

  steps.operation = [](shared_string& text) { text = "another one"; };
  steps.expected = [](std::string& text) { text = "another one"; };
  steps.run("shared_string::assign");

  steps.operation = [](shared_string& text) { text.insert(3, "---"); };
  steps.expected = [](std::string& text) { text.insert(3, "---"); };
  steps.run("shared_string::insert");

  steps.operation = [](shared_string& text) { text.erase(3, 4); };
  steps.expected = [](std::string& text) { text.erase(3, 4); };
  steps.run("shared_string::erase");
}

}  // namespace
