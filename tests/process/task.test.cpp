// SPDX-License-Identifier: MIT

#include <multiproc/process/task.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <variant>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <cereal/types/string.hpp>
#include <cereal/types/vector.hpp>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"

// Targets with names of all kinds of linkage. An int that they return is dropped, so they end by std::exit.
namespace task_test {

[[noreturn]] void global_function(int code) {
  std::exit(code);
}
static void static_function(int code) {
  std::exit(code + 1);
}
template <class T>
void function_template(T code) {
  std::exit(static_cast<int>(code) + 2);
}
inline void inline_function(int code) {
  std::exit(code + 3);
}

// Sent by its serialize, which is private and counts nothing but what it is given.
class Greeter {
 public:
  Greeter() = default;
  explicit Greeter(std::string name) : name_(std::move(name)) {}
  void operator()(const std::string& wire) const { support::Wire::tell(wire, "hello " + name_); }

 private:
  friend class cereal::access;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(name_);
  }
  std::string name_;
};

// Sent as an aggregate of Sendables.
struct Adder {
  int summand;
  std::vector<int> more;
  void operator()(int code) const { std::exit(std::accumulate(more.begin(), more.end(), code + summand)); }
};

struct Empty {
  void operator()(int code) const { std::exit(code + 4); }
};

class NoDefault {
 public:
  explicit NoDefault(int) {}
  void operator()() const {}
};

enum class Color : std::uint8_t { red = 3, blue = 200 };

struct Inner {
  std::string name;
  std::optional<double> weight;
  bool operator==(const Inner&) const = default;
};

struct Outer {
  int id;
  Color color;
  std::vector<Inner> parts;
  std::map<std::string, std::vector<std::uint64_t>> table;
  std::variant<int, std::string, Inner> choice;
  std::array<short, 3> triple;
  std::tuple<char, std::pair<bool, float>> rest;
  std::unique_ptr<int> owned;
};

class Printer {
 public:
  void print(const std::string& wire) const { support::Wire::tell(wire, "member"); }
};

}  // namespace task_test

namespace {

using multiproc::copied;
using multiproc::Process;
using multiproc::StartMethod;
using support::Wire;
using namespace task_test;

class TaskTest : public support::EveryStartMethod {
 protected:
  template <class F, class... Args>
  static int exitcode_of(F&& target, Args&&... args) {
    Process child{options(), std::forward<F>(target), std::forward<Args>(args)...};
    child.start();
    child.join();
    return child.exitcode().value();
  }
};
MULTIPROC_EVERY_START_METHOD(TaskTest);

// ---- Callables

TEST_P(TaskTest, RunsFunctionsOfAnyLinkage) {
  EXPECT_EQ(exitcode_of(global_function, 10), 10);
  EXPECT_EQ(exitcode_of(&global_function, 10), 10);
  EXPECT_EQ(exitcode_of(static_function, 10), 11);
  EXPECT_EQ(exitcode_of(function_template<long>, 10L), 12);
  EXPECT_EQ(exitcode_of(inline_function, 10), 13);
}

TEST_P(TaskTest, RunsAFunctionOfASystemLibrary) {
  EXPECT_EQ(exitcode_of(&::_exit, 14), 14);
}

TEST_P(TaskTest, RunsAFunctionThatPromisesNotToThrow) {
  void (*target)(int) noexcept = [](int code) noexcept { std::exit(code); };
  EXPECT_EQ(exitcode_of(target, 15), 15);
}

TEST_P(TaskTest, RunsCapturelessLambdas) {
  EXPECT_EQ(exitcode_of([](int code) { std::exit(code); }, 16), 16);
  EXPECT_EQ(exitcode_of(
                +[](int code) { std::exit(code); }, 17),
            17);
  EXPECT_EQ(exitcode_of([](auto code) { std::exit(code); }, 18), 18);
  EXPECT_EQ(exitcode_of([](int code) mutable { std::exit(code); }, 19), 19);
}

TEST_P(TaskTest, RunsEmptyFunctors) {
  EXPECT_EQ(exitcode_of(Empty{}, 10), 14);
}

TEST_P(TaskTest, RunsFunctorsThatAreAggregates) {
  EXPECT_EQ(exitcode_of(Adder{.summand = 5, .more = {1, 2, 3}}, 10), 21);
  const Adder constant{.summand = 6, .more = {}};
  EXPECT_EQ(exitcode_of(constant, 10), 16);
}

TEST_P(TaskTest, RunsFunctorsWithSerialize) {
  const Wire wire;
  Process child{options(), Greeter{"Ada"}, wire.path()};
  child.start();
  child.join();
  EXPECT_EQ(wire.hear(), "hello Ada");
}

TEST_P(TaskTest, RunsALambdaWhoseCapturesWereSaidToBeValues) {
  int one = 1;
  double half = 0.5;
  const std::array<int, 3> three{1, 2, 3};
  EXPECT_EQ(
      exitcode_of(
          copied([one, half, three](int code) { std::exit(code + one + static_cast<int>(half * 4) + three[2]); }), 10),
      16);
}

TEST_P(TaskTest, ACopiedLambdaMayChangeItsCaptures) {
  EXPECT_EQ(exitcode_of(copied([count = 20]() mutable { std::exit(++count); })), 21);
}

TEST_P(TaskTest, ACopiedLambdaMayCaptureManyValuesOfOddSizes) {
  const std::array<char, 5> five{'a', 'b', 'c', 'd', 'e'};
  char one = 'x';
  std::uint64_t big = 0x0123456789abcdef;
  const Wire wire;
  Process child{options(), copied([five, one, big](const std::string& path) {
                  Wire::tell(path, std::string(five.begin(), five.end()) + one + std::to_string(big));
                }),
                wire.path()};
  child.start();
  child.join();
  EXPECT_EQ(wire.hear(), "abcdex" + std::to_string(big));
}

TEST_P(TaskTest, RunsAVariadicFunction) {
  const auto result = support::in_child([] { EXPECT_EQ(exitcode_of(std::printf, "%s is %d\n", "seven", 7), 0); });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "seven is 7\n");
}

struct Once {
  void operator()() && { std::exit(25); }
};

TEST_P(TaskTest, RunsAFunctorThatCanBeCalledOnce) {
  EXPECT_EQ(exitcode_of(Once{}), 25);
}

TEST_P(TaskTest, WhatTheTargetReturnsIsDropped) {
  EXPECT_EQ(exitcode_of([] { return 33; }), 0);
  EXPECT_EQ(exitcode_of([] { return std::string("text"); }), 0);
}

TEST_P(TaskTest, TheProcessKeepsItsOwnCopyOfTheTarget) {
  const Wire wire;
  std::optional<Process> child;
  {
    Greeter gone{"copy"};
    child.emplace(options(), gone, wire.path());
    gone = Greeter{"changed afterwards"};
  }
  child->start();
  child->join();
  EXPECT_EQ(wire.hear(), "hello copy");
}

// ---- Arguments

TEST_P(TaskTest, AStringLiteralOutlivesItsCaller) {
  const Wire wire;
  std::optional<Process> child;
  {
    char buffer[16] = "stack";
    child.emplace(
        options(),
        [](const std::string& path, const char* literal, std::string_view view, const std::string& text) {
          Wire::tell(path, std::string(literal) + "|" + std::string(view) + "|" + text);
        },
        wire.path(), buffer, "view", "text");
    buffer[0] = 'X';
  }
  child->start();
  child->join();
  EXPECT_EQ(wire.hear(), "stack|view|text");
}

TEST_P(TaskTest, ALiteralEndsAtItsZeroAndABufferWithoutOneAtItsEnd) {
  const Wire wire;
  const char full[4] = {'f', 'u', 'l', 'l'};
  Process child{options(),
                [](const std::string& path, const std::string& a, const std::string& b, const std::string& c) {
                  Wire::tell(path, a + "|" + b + "|" + c);
                },
                wire.path(),
                full,
                "",
                "x\0y"};
  child.start();
  child.join();
  EXPECT_EQ(wire.hear(), "full||x");
}

Outer make_outer() {
  return Outer{.id = -7,
               .color = Color::blue,
               .parts = {{"one", 1.5}, {"two", std::nullopt}},
               .table = {{"empty", {}}, {"full", {1, 0xffffffffffffffff}}},
               .choice = Inner{"chosen", 2.5},
               .triple = {-1, 0, 1},
               .rest = {'c', {true, 0.25F}},
               .owned = std::make_unique<int>(99)};
}

TEST_P(TaskTest, NestedAggregatesOfEverythingArriveWhole) {
  const auto check = [](Outer it) {
    const bool ok = it.id == -7 && it.color == Color::blue && it.parts.size() == 2 &&
                    it.parts[0] == Inner{"one", 1.5} && it.parts[1] == Inner{"two", std::nullopt} &&
                    it.table.at("empty").empty() &&
                    it.table.at("full") == std::vector<std::uint64_t>{1, 0xffffffffffffffff} &&
                    std::get<Inner>(it.choice) == Inner{"chosen", 2.5} && it.triple == std::array<short, 3>{-1, 0, 1} &&
                    it.rest == std::tuple<char, std::pair<bool, float>>{'c', {true, 0.25F}} && *it.owned == 99;
    std::exit(ok ? 22 : 1);
  };
  EXPECT_EQ(exitcode_of(check, make_outer()), 22);
}

TEST_P(TaskTest, ArgumentsArriveInTheirOrder) {
  const Wire wire;
  Process child{options(),
                [](const std::string& path, int a, const std::string& b, double c, const std::vector<int>& d,
                   const std::map<int, std::string>& e, std::optional<int> f, bool g, char h) {
                  Wire::tell(path, std::to_string(a) + b + std::to_string(static_cast<int>(c)) +
                                       std::to_string(d.size()) + e.at(4) + std::to_string(*f) + (g ? "t" : "f") + h);
                },
                wire.path(),
                1,
                std::string("2"),
                3.0,
                std::vector<int>{7, 7, 7, 7},
                std::map<int, std::string>{{4, "5"}},
                std::optional<int>(6),
                true,
                '8'};
  child.start();
  child.join();
  EXPECT_EQ(wire.hear(), "123456t8");
}

TEST_P(TaskTest, ArgumentsAreHandedOverAsRvalues) {
  const Wire wire;
  Process child{options(),
                [](std::string&& path, std::unique_ptr<int> owned, std::vector<int>&& moved) {
                  Wire::tell(path, std::to_string(*owned + moved.at(0)));
                },
                wire.path(), std::make_unique<int>(40), std::vector<int>{2}};
  child.start();
  child.join();
  EXPECT_EQ(wire.hear(), "42");
}

TEST_P(TaskTest, AnLvalueArgumentIsCopiedAtConstruction) {
  std::vector<int> numbers{1, 2, 3};
  Process child{options(), [](const std::vector<int>& got) { std::exit(static_cast<int>(got.size())); }, numbers};
  numbers.clear();
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 3);
}

TEST_P(TaskTest, SixtyFourMebibytesArrive) {
  std::vector<std::uint32_t> numbers((64U << 20) / sizeof(std::uint32_t));
  std::iota(numbers.begin(), numbers.end(), 0U);
  const auto check = [](const std::vector<std::uint32_t>& got) {
    for (std::uint32_t i = 0; i < got.size(); ++i) {
      if (got[i] != i) std::exit(1);
    }
    std::exit(got.size() == (64U << 20) / 4 ? 23 : 2);
  };
  EXPECT_EQ(exitcode_of(check, std::move(numbers)), 23);
}

TEST_P(TaskTest, ABigArgumentOfAChildThatIsKilledMeanwhileHoldsNobodyUp) {
  // Constructed once, started often: each child is killed at some moment of its start or after it.
  const std::string big(8U << 20, 'b');
  for (int i = 0; i < 10; ++i) {
    Process child{options(), [](const std::string&) { support::targets::sleep_for_ever(); }, big};
    std::atomic<bool> ended{false};
    std::thread killer([&, list = "/proc/self/task/" + std::to_string(::getpid()) + "/children"] {
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
      while (!ended) {
        std::ifstream children(list);
        for (int pid = 0; children >> pid;) ::kill(pid, SIGKILL);
      }
    });
    child.start();
    child.join();
    ended = true;
    killer.join();
    EXPECT_EQ(child.exitcode(), -SIGKILL);
  }
}

TEST_P(TaskTest, NoArgumentsAndManyArguments) {
  EXPECT_EQ(exitcode_of([] { std::exit(24); }), 24);
  EXPECT_EQ(exitcode_of([](auto... numbers) { std::exit((numbers + ...)); }, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                        14, 15, 16),
            136);
}

// ---- Fork takes anything

TEST(TaskByForkTest, TakesWhateverCanBeCalled) {
  const auto exitcode = [](auto&& target, auto&&... args) {
    Process child{{.start_method = StartMethod::fork},
                  std::forward<decltype(target)>(target),
                  std::forward<decltype(args)>(args)...};
    child.start();
    child.join();
    return child.exitcode().value();
  };
  int here = 1;
  EXPECT_EQ(exitcode([&here] { std::exit(here + 29); }), 30);
  EXPECT_EQ(here, 1);
  EXPECT_EQ(exitcode([owned = std::make_unique<int>(31)] { std::exit(*owned); }), 31);
  EXPECT_EQ(exitcode(std::function<void(int)>([](int code) { std::exit(code); }), 32), 32);
  EXPECT_EQ(exitcode(std::bind(global_function, 33)), 33);
  EXPECT_EQ(exitcode([](const int* pointer) { std::exit(*pointer + 33); }, &here), 34);
  EXPECT_EQ(exitcode([](int& reference) { std::exit(reference + 34); }, std::ref(here)), 35);
  EXPECT_EQ(exitcode(NoDefault{1}), 0);

  const Wire wire;
  EXPECT_EQ(exitcode(&Printer::print, Printer{}, wire.path()), 0);
  EXPECT_EQ(wire.hear(), "member");
}

// ---- Spawn refuses what would arrive broken

// The text of the refusal; and the Process still works by fork.
template <class F, class... Args>
std::string refusal(F target, Args... args) {
  Process child{{.name = "traveller", .start_method = StartMethod::spawn}, target, args...};
  try {
    child.start();
    return "started";
  } catch (const multiproc::NotSendable& error) {
    EXPECT_EQ(child.pid(), 0);
    EXPECT_FALSE(child.is_alive());
    return error.what();
  }
}

void expect_parts(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

TEST(TaskBySpawnTest, RefusesTargetsThatReferToThisProcess) {
  int here = 1;
  const std::vector<std::string> remedies{"process 'traveller'", "target", "captureless", "copied(lambda)",
                                          "StartMethod::fork"};
  expect_parts(refusal([&here] { ++here; }), remedies);
  expect_parts(refusal([here] { (void)here; }), remedies);
  expect_parts(refusal(std::function<void()>(support::targets::nothing)), remedies);
  expect_parts(refusal(&Printer::print, Printer{}, std::string()), remedies);
  expect_parts(refusal(NoDefault{1}), remedies);
}

TEST(TaskBySpawnTest, RefusesANullFunction) {
  void (*none)() = nullptr;
  expect_parts(refusal(none), {"target", "null"});
}

TEST(TaskBySpawnTest, NamesTheArgumentThatCanNotTravelAndTheRemedy) {
  int number = 5;
  const auto ignore = [](auto&&...) {};
  expect_parts(refusal(ignore, 1, std::string("two"), &number), {"argument 3", "int*", "pointer", "StartMethod::fork"});
  expect_parts(refusal(ignore, std::ref(number)), {"argument 1", "reference_wrapper"});
  expect_parts(refusal(ignore, 1, std::string_view("view")), {"argument 2", "string_view", "std::string"});
  expect_parts(refusal(ignore, std::make_shared<int>(1)), {"argument 1", "shared_ptr"});
  expect_parts(refusal(ignore, std::vector<int*>{}), {"argument 1", "vector", "int*"});
  expect_parts(refusal(ignore, std::function<void()>()), {"argument 1", "std::function"});
}

TEST(TaskBySpawnTest, AFunctionAsAnArgumentIsRefused) {
  expect_parts(refusal([](void (*)(int)) {}, &global_function), {"argument 1", "function", "StartMethod::fork"});
}

struct Hidden {
  int number;
  struct {
    const char* text;
  } below;
};

TEST(TaskBySpawnTest, FindsAPointerDeepInAnAggregate) {
  expect_parts(refusal([](const Hidden&) {}, Hidden{1, {"x"}}), {"argument 1", "Hidden", "pointer"});
}

TEST(TaskBySpawnTest, NamesTheFirstOfTwoArgumentsThatCanNotTravel) {
  int number = 5;
  const std::string text = refusal([](auto&&...) {}, &number, std::string_view("view"));
  expect_parts(text, {"argument 1"});
  EXPECT_EQ(text.find("argument 2"), std::string::npos) << text;
}

TEST(TaskBySpawnTest, AfterARefusalTheProcessStillWorksByFork) {
  const auto result = support::in_child([] {
    multiproc::set_start_method(StartMethod::spawn);
    int here = 41;
    Process child{[&here] { std::exit(here); }};
    EXPECT_THROW(child.start(), multiproc::NotSendable);

    multiproc::set_start_method(StartMethod::fork);
    child.start();
    child.join();

    EXPECT_EQ(child.exitcode(), 41);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(TaskBySpawnTest, SpawnedTakesWhatTravels) {
  Process child = Process::spawned({.name = "checked by the compiler"}, Adder{1, {2}}, 39);
  child.start();
  child.join();
  EXPECT_EQ(child.exitcode(), 42);
  EXPECT_EQ(child.name(), "checked by the compiler");
}

// A class whose decoding fails in the child.
struct Picky {
  int value = 0;
  template <class Archive>
  void save(Archive& archive) const {
    archive(value);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(value);
    throw std::runtime_error("I don't like this number");
  }
};

TEST(TaskBySpawnTest, AnArgumentThatCanNotBeDecodedInTheChildFailsTheStart) {
  Process child{{.name = "picky", .start_method = StartMethod::spawn}, [](const Picky&) {}, Picky{}};
  try {
    child.start();
    FAIL() << "started without its argument";
  } catch (const multiproc::LaunchError& error) {
    expect_parts(error.what(), {"picky", "I don't like this number"});
  }
  EXPECT_EQ(child.pid(), 0);
}

struct Unwilling {
  template <class Archive>
  void save(Archive&) const {
    throw std::runtime_error("not today");
  }
  template <class Archive>
  void load(Archive&) {}
};

TEST(TaskBySpawnTest, AnArgumentThatCanNotBeEncodedFailsTheStartWithItsOwnException) {
  Process child{{.start_method = StartMethod::spawn}, [](const Unwilling&) {}, Unwilling{}};
  EXPECT_THROW(child.start(), std::runtime_error);
  EXPECT_EQ(child.pid(), 0);
}

TEST(TaskBySpawnTest, AnArgumentLargerThanTheChildsMemoryFailsTheStart) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "a sanitizer's own mappings are larger than any limit";
#endif
  const std::string big(300U << 20, 'x');
  Process child{
      {.start_method = StartMethod::spawn, .limits = {.memory_bytes = 256U << 20}}, [](const std::string&) {}, big};
  EXPECT_THROW(child.start(), multiproc::LaunchError);
  EXPECT_EQ(child.pid(), 0);
}

}  // namespace
