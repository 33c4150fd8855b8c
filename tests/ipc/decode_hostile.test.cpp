// SPDX-License-Identifier: MIT
//
// Bytes from somebody who means no good: every decode answers with a value or a DecodeError, and allocates in
// proportion to the bytes it was given.

#include <multiproc/ipc/encode.hpp>

#include <array>
#include <atomic>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <filesystem>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

namespace {

std::atomic<std::size_t> allocated{0};

void* count_and_allocate(std::size_t size) {
  allocated.fetch_add(size, std::memory_order_relaxed);
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t size) {
  return count_and_allocate(size);
}
void* operator new[](std::size_t size) {
  return count_and_allocate(size);
}
void operator delete(void* memory) noexcept {
  std::free(memory);
}
void operator delete[](void* memory) noexcept {
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
  std::free(memory);
}

using multiproc::decode;
using multiproc::DecodeError;
using multiproc::encode;
using multiproc::Encoder;

namespace {

struct Flags {
  bool a = false;
  int b = 0;
  bool c[3] = {};
};
struct Tree {
  int value = 0;
  std::vector<Tree> children{};
};
struct Sparse {
  std::optional<std::array<char, 4096>> page{};
};
struct Mixed {
  std::vector<std::string> names{};
  std::map<std::string, std::vector<Flags>> flags{};
  std::variant<std::monostate, int, std::string, Tree> choice{};
  std::vector<bool> bits{};
  std::unordered_map<int, std::optional<std::string>> lookup{};
  std::list<std::pair<bool, std::set<int>>> list{};
  std::deque<std::uint16_t> deque{};
  std::bitset<70> bitset{};
  std::filesystem::path path{};
  std::unique_ptr<std::tuple<int, bool, std::string>> pointer{};
};
class Versioned {
 public:
  template <class Archive>
  void serialize(Archive& archive, std::uint32_t) {
    archive(names_, map_);
  }
  std::vector<std::string> names_{"a", "b"};
  std::map<int, std::string> map_{{1, "one"}, {2, "two"}};
};

Mixed mixed() {
  Mixed value;
  value.names = {"one", "", "a text that is longer than a small string"};
  value.flags = {{"x", {Flags{true, 2, {true, false, true}}, Flags{}}}, {"y", {}}};
  value.choice = Tree{1, {{2, {}}, {3, {{4, {}}}}}};
  value.bits = {true, false, true, true, false, false, true, true, true};
  value.lookup = {{1, "eins"}, {2, std::nullopt}};
  value.list = {{true, {1, 2}}, {false, {}}};
  value.deque = {1, 2, 3};
  value.bitset = 5;
  value.path = "/tmp/a";
  value.pointer = std::make_unique<std::tuple<int, bool, std::string>>(1, true, "x");
  return value;
}

// No bool may come out as anything but 0 or 1; the sanitizers see to the rest.
std::size_t walk(const Flags& flags) {
  std::size_t sum = flags.a ? 1U : 0U;
  for (const bool bit : flags.c) sum += bit ? 1U : 0U;
  return sum;
}

template <class T>
void attack(const T& value, unsigned seed, int rounds) {
  const auto message = encode(value);
  const std::vector<std::byte> valid(message.bytes.begin(), message.bytes.end());
  std::mt19937 random(seed);
  const auto below = [&random](std::size_t n) { return static_cast<std::size_t>(random()) % n; };

  for (int round = 0; round < rounds; ++round) {
    std::vector<std::byte> bytes = valid;
    const std::size_t changes = 1 + below(4);
    for (std::size_t i = 0; i < changes && !bytes.empty(); ++i) {
      const std::size_t at = below(bytes.size());
      switch (below(5)) {
        case 0: bytes[at] = static_cast<std::byte>(random()); break;
        case 1: bytes[at] ^= static_cast<std::byte>(1U << below(8)); break;
        case 2: bytes[at] = std::byte{0xff}; break;
        case 3: bytes.resize(at); break;
        default:
          bytes.insert(bytes.begin() + static_cast<std::ptrdiff_t>(at), below(16), static_cast<std::byte>(below(3)));
      }
    }
    bytes.shrink_to_fit();

    allocated = 0;
    try {
      decode<T>(bytes);
    } catch (const DecodeError&) {
    }
    EXPECT_LE(allocated.load(), 4096 + bytes.size() * 256) << "seed " << seed << ", round " << round;
  }
}

TEST(HostileTest, MutatedBytesMakeAValueOrADecodeErrorAndFewAllocations) {
  attack(mixed(), 1, 20000);
  attack(std::vector<std::vector<std::string>>{{"a", "b"}, {}, {"c"}}, 2, 5000);
  attack(std::map<std::string, std::map<int, std::string>>{{"a", {{1, "x"}}}, {"b", {}}}, 3, 5000);
  attack(Versioned(), 4, 5000);
  attack(std::vector<Flags>(3), 5, 5000);
  attack(std::vector<int>{1, 2, 3}, 6, 5000);
}

TEST(HostileTest, NoiseMakesAValueOrADecodeErrorAndFewAllocations) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::byte> bytes(random() % 64);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() % 4 == 0 ? random() : 0U);
    allocated = 0;
    try {
      const auto flags = decode<std::vector<Flags>>(bytes);
      for (const Flags& one : flags) EXPECT_LE(walk(one), 4u);
    } catch (const DecodeError&) {
    }
    try {
      decode<std::variant<Tree, std::vector<bool>, std::map<int, bool>>>(bytes);
    } catch (const DecodeError&) {
    }
    EXPECT_LE(allocated.load(), 4096 + bytes.size() * 256);
  }
}

template <class T>
void expect_length_refused(std::uint64_t length) {
  Encoder encoder;
  encoder(length, std::uint64_t{0});  // and a few bytes after it

  allocated = 0;
  EXPECT_THROW(decode<T>(encoder.bytes()), DecodeError) << length;
  EXPECT_LE(allocated.load(), 4096u);
}

TEST(HostileTest, ALengthThatTheBytesCantHoldIsRefusedBeforeAnythingIsAllocated) {
  for (const std::uint64_t length : {std::uint64_t{9}, std::uint64_t{1} << 20, std::uint64_t{1} << 61,
                                     (std::uint64_t{1} << 61) + 1, (std::uint64_t{1} << 62) + 1, ~std::uint64_t{0}}) {
    expect_length_refused<std::string>(length);
    expect_length_refused<std::u32string>(length);
    expect_length_refused<std::vector<int>>(length);
    expect_length_refused<std::vector<std::string>>(length);
    expect_length_refused<std::vector<std::monostate>>(length);
    expect_length_refused<std::deque<double>>(length);
    expect_length_refused<std::set<int>>(length);
    expect_length_refused<std::map<char, std::monostate>>(length);
    expect_length_refused<std::unordered_map<int, int>>(length);
    expect_length_refused<std::vector<Tree>>(length);
    expect_length_refused<std::filesystem::path>(length);
  }
  for (const std::uint64_t length : {std::uint64_t{65}, std::uint64_t{1} << 62, ~std::uint64_t{0}})
    expect_length_refused<std::vector<bool>>(length);
}

TEST(HostileTest, ElementsThatAreLargeInMemoryAreNotMadeBeforeTheyCome) {
  std::vector<std::byte> bytes(8 + 1000000, std::byte{2});  // a million flags, the first of which is wrong
  const std::uint64_t length = 1000000;
  std::memcpy(bytes.data(), &length, sizeof length);

  allocated = 0;
  EXPECT_THROW(decode<std::vector<Sparse>>(bytes), DecodeError);

  EXPECT_LE(allocated.load(), 2 * bytes.size());
}

TEST(HostileTest, ABoolIsNeverAnythingButFalseOrTrue) {
  for (unsigned value = 2; value < 256; ++value) {
    const std::array<std::byte, 1> byte{static_cast<std::byte>(value)};
    EXPECT_THROW(decode<bool>(byte), DecodeError);
    auto flags = encode(Flags{true, 1, {true, true, true}});
    flags.bytes[flags.bytes.size() - 1] = byte[0];
    EXPECT_THROW(decode<Flags>(flags.bytes), DecodeError);
  }
}

TEST(HostileTest, AnIndexThatNoAlternativeHasIsRefused) {
  auto message = encode(std::variant<int, long>(7));
  message.bytes[0] = std::byte{2};
  EXPECT_THROW((decode<std::variant<int, long>>(message.bytes)), DecodeError);
  message.bytes[0] = std::byte{255};
  EXPECT_THROW((decode<std::variant<int, long>>(message.bytes)), DecodeError);
}

TEST(HostileTest, NestingThatWouldEatTheStackIsRefused) {
  std::vector<std::byte> bytes;
  for (int level = 0; level < 100000; ++level) {
    const int value = 7;
    const std::uint64_t one = 1;
    const auto* a = reinterpret_cast<const std::byte*>(&value);
    const auto* b = reinterpret_cast<const std::byte*>(&one);
    bytes.insert(bytes.end(), a, a + sizeof value);
    bytes.insert(bytes.end(), b, b + sizeof one);
  }

  EXPECT_THROW(decode<Tree>(bytes), DecodeError);
}

TEST(HostileTest, TheErrorSaysWhatWasReadAndWhatWasThere) {
  Encoder encoder;
  encoder(std::uint64_t{1000}, 7);
  try {
    decode<std::vector<double>>(encoder.bytes());
    FAIL() << "no exception";
  } catch (const DecodeError& error) {
    const std::string text = error.what();
    EXPECT_NE(text.find("vector<double"), text.npos) << text;
    EXPECT_NE(text.find("1000"), text.npos) << text;
    EXPECT_NE(text.find("4 bytes are left"), text.npos) << text;
  }
}

}  // namespace
