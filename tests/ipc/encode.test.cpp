// SPDX-License-Identifier: MIT

#include <multiproc/ipc/encode.hpp>

#include <array>
#include <bitset>
#include <chrono>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include <boost/container/flat_map.hpp>
#include <boost/container/slist.hpp>
#include <boost/container/small_vector.hpp>
// Behind ours on purpose: cereal's own way with std types must not get into the way of ours.
#include <gtest/gtest.h>
#include <cereal/types/array.hpp>
#include <cereal/types/bitset.hpp>
#include <cereal/types/chrono.hpp>
#include <cereal/types/complex.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/memory.hpp>
#include <cereal/types/optional.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/tuple.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>

#include <multiproc/os/pipe.hpp>

using multiproc::decode;
using multiproc::DecodeError;
using multiproc::Decoder;
using multiproc::encode;
using multiproc::Encoded;
using multiproc::Encoder;

namespace {

enum class Colour : std::uint8_t { red, green };
enum class Answer : bool { no, yes };

struct Empty {
  bool operator==(const Empty&) const = default;
};
struct Point {
  int x = 0;
  double y = 0;
  bool operator==(const Point&) const = default;
};
struct Flags {
  bool on = false;
  int number = 0;
  bool operator==(const Flags&) const = default;
};
struct Arrays {
  char name[300] = {};
  int grid[2][3] = {};
  std::string texts[2] = {};
  bool marks[3] = {};
  bool operator==(const Arrays&) const = default;
};
struct Constant {
  const int id;
  const std::string name;
  bool operator==(const Constant&) const = default;
};
struct FlatConstant {
  const int a;
  const int b;
  bool operator==(const FlatConstant&) const = default;
};
struct Bits {
  unsigned a : 3;
  unsigned b : 5;
  std::string c;
  bool operator==(const Bits&) const = default;
};
struct Tag {
  bool operator==(const Tag&) const = default;
};
struct Tagged : Tag {
  int x = 0;
  std::string y{};
  bool operator==(const Tagged&) const = default;
};
struct Tree {
  int value = 0;
  std::vector<Tree> children{};
  bool operator==(const Tree&) const = default;
};
struct Chain {
  int value = 0;
  std::unique_ptr<Chain> next{};
};
struct Everything {
  std::map<std::string, std::vector<std::optional<Point>>> a{};
  std::variant<std::monostate, int, std::string, Tree> b{};
  std::tuple<bool, std::pair<Colour, Answer>, std::bitset<70>> c{};
  std::array<std::vector<bool>, 2> d{};
  Arrays e{};
  std::chrono::nanoseconds f{};
  std::filesystem::path g{};
  std::vector<Empty> h{};
  bool operator==(const Everything&) const = default;
};
class Picky {
 public:
  explicit Picky(int value = 0) : text_(std::to_string(value)) {
    if (value < 0) throw std::invalid_argument("negative");
  }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(text_);
  }

 private:
  std::string text_;
};
class SaidSo {
 public:
  explicit SaidSo(int value) : value_(value) {}
  bool operator==(const SaidSo&) const = default;

 private:
  int value_;
};

Everything everything() {
  Everything all;
  all.a = {{"one", {Point{1, 2.5}, std::nullopt}}, {"none", {}}};
  all.b = Tree{1, {{2, {}}, {3, {{4, {}}}}}};
  all.c = {true, {Colour::green, Answer::yes}, std::bitset<70>("1010101010101")};
  all.d = {std::vector<bool>{true, false, true, true, false, true, false, true, true}, {}};
  all.e.name[7] = 'x';
  all.e.grid[1][2] = 9;
  all.e.texts[1] = "second";
  all.e.marks[2] = true;
  all.f = std::chrono::hours(3);
  all.g = "/a/path/to.file";
  all.h.resize(3);
  return all;
}

template <class T>
T there_and_back(const T& value) {
  const Encoded message = encode(value);
  return decode<T>(message.bytes);
}

// Copies into memory of exactly that size, so that a sanitizer sees one byte read too many.
std::vector<std::byte> copy_of(std::span<const std::byte> bytes) {
  return {bytes.begin(), bytes.end()};
}

template <class T>
void expect_all_truncations_refused(const T& value) {
  const Encoded message = encode(value);
  for (std::size_t size = 0; size < message.bytes.size(); ++size) {
    const auto cut = copy_of(std::span(message.bytes).first(size));
    EXPECT_THROW(decode<T>(cut), DecodeError) << size << " of " << message.bytes.size() << " bytes";
  }
  auto longer = copy_of(message.bytes);
  longer.push_back(std::byte{0});
  EXPECT_THROW(decode<T>(longer), DecodeError);
}

template <class T>
void expect_round_trip(const T& value) {
  EXPECT_EQ(there_and_back(value), value);
  expect_all_truncations_refused(value);
}

}  // namespace

template <>
inline constexpr bool multiproc::sendable_as_bytes<SaidSo> = true;

namespace {

struct Descriptor {
  multiproc::os::Fd fd{};
};

}  // namespace

template <>
struct multiproc::Travel<Descriptor> {
  static void encode(Encoder& to, const Descriptor& value) { to.attach(value.fd.duplicate().or_throw("a descriptor")); }
  static Descriptor decode(Decoder& from) { return {from.take_fd()}; }
};

namespace {

TEST(EncodeTest, BringsScalarsBack) {
  expect_round_trip(std::numeric_limits<int>::min());
  expect_round_trip(std::uint64_t{0xfedcba9876543210U});
  expect_round_trip(true);
  expect_round_trip('x');
  expect_round_trip(L'y');
  expect_round_trip(3.5F);
  expect_round_trip(-1e300);
  expect_round_trip(std::byte{7});
  expect_round_trip(Colour::green);
  expect_round_trip(Answer::yes);
}

TEST(EncodeTest, BringsSequencesBack) {
  expect_round_trip(std::string());
  expect_round_trip(std::string("with\0zero", 9));
  expect_round_trip(std::u16string(u"wide"));
  expect_round_trip(std::vector<int>{});
  expect_round_trip(std::vector<int>{1, 2, 3});
  expect_round_trip(std::vector<Point>{{1, 2}, {3, 4}});
  expect_round_trip(std::vector<bool>{true, false, false, true, true, false, true, false, true});
  expect_round_trip(std::vector<Empty>(5));
  expect_round_trip(std::vector<std::string>{"a", "", "a text that is longer than a small string"});
  expect_round_trip(std::vector<std::vector<std::vector<int>>>{{{1}, {}}, {}, {{2, 3}}});
  expect_round_trip(std::deque<int>{1, 2, 3});
  expect_round_trip(std::deque<std::string>{"x", "y"});
  expect_round_trip(std::list<std::string>{"x", "y"});
  expect_round_trip(std::forward_list<int>{1, 2, 3});
  expect_round_trip(boost::container::small_vector<int, 2>{1, 2, 3});
  expect_round_trip(boost::container::slist<std::string>{"x", "y"});
}

TEST(EncodeTest, BringsAssociativeContainersBack) {
  expect_round_trip(std::set<std::string>{"b", "a"});
  expect_round_trip(std::multiset<int>{1, 1, 2});
  expect_round_trip(std::map<std::string, int>{{"a", 1}, {"b", 2}});
  expect_round_trip(std::multimap<int, std::string>{{1, "x"}, {1, "y"}});
  expect_round_trip(std::unordered_set<int>{1, 2, 3});
  expect_round_trip(std::unordered_multiset<int>{1, 1, 3});
  expect_round_trip(std::unordered_map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}});
  expect_round_trip(std::unordered_multimap<int, bool>{{1, true}, {1, false}});
  expect_round_trip(boost::container::flat_map<int, std::string>{{2, "b"}, {1, "a"}});
}

TEST(EncodeTest, BringsVocabularyTypesBack) {
  using namespace std::chrono_literals;
  expect_round_trip(std::pair<int, std::string>(1, "x"));
  expect_round_trip(std::tuple<int, bool, std::string>(1, true, "x"));
  expect_round_trip(std::tuple<>());
  expect_round_trip(std::monostate());
  expect_round_trip(std::optional<std::string>());
  expect_round_trip(std::optional<std::string>("x"));
  expect_round_trip(std::optional<std::optional<bool>>(std::optional<bool>()));
  expect_round_trip(std::variant<std::monostate, int, std::string>());
  expect_round_trip(std::variant<int, int, std::string>(std::in_place_index<1>, 5));
  expect_round_trip(std::array<std::string, 2>{"a", "b"});
  expect_round_trip(std::array<bool, 2>{true, false});
  expect_round_trip(std::array<int, 3>{1, 2, 3});
  expect_round_trip(std::complex<double>(1, -2));
  expect_round_trip(std::bitset<1>(1));
  expect_round_trip(std::bitset<77>("1010101"));
  expect_round_trip(std::chrono::nanoseconds(12345));
  expect_round_trip(std::chrono::duration<double>(1.5));
  expect_round_trip(std::chrono::steady_clock::time_point(77ns));
  expect_round_trip(std::filesystem::path("/a/b.c"));
}

TEST(EncodeTest, BringsAggregatesBack) {
  expect_round_trip(Empty{});
  expect_round_trip(Point{1, 2});
  expect_round_trip(Flags{true, 7});
  expect_round_trip(Constant{3, "three"});
  expect_round_trip(FlatConstant{3, 4});
  expect_round_trip(Bits{5, 17, "x"});
  expect_round_trip(Tagged{{}, 4, "four"});
  expect_round_trip(Tree{1, {{2, {}}, {3, {{4, {}}}}}});
  expect_round_trip(SaidSo(5));
}

TEST(EncodeTest, BringsEverythingAtOnceBack) {
  expect_round_trip(everything());
}

TEST(EncodeTest, BringsUniquePointersBackWithoutSharing) {
  Chain chain{1, std::make_unique<Chain>(Chain{2, std::make_unique<Chain>(Chain{3, nullptr})})};

  const Chain back = there_and_back(chain);

  ASSERT_TRUE(back.next && back.next->next);
  EXPECT_EQ(back.next->next->value, 3);
  EXPECT_EQ(back.next->next->next, nullptr);
  EXPECT_NE(back.next.get(), chain.next.get());
  expect_all_truncations_refused(chain);
}

TEST(EncodeTest, DecodesElementsThatLieUnaligned) {
  const std::vector<double> value{1, 2, 3};
  const Encoded message = encode(value);
  std::vector<std::byte> shifted(message.bytes.size() + 1);
  std::copy(message.bytes.begin(), message.bytes.end(), shifted.begin() + 1);

  EXPECT_EQ(decode<std::vector<double>>(std::span(shifted).subspan(1)), value);
}

TEST(EncodeTest, TakesTheBytesAsTheyAreWhereItMay) {
  EXPECT_EQ(encode(7).bytes.size(), sizeof(int));
  EXPECT_EQ(encode(Point{}).bytes.size(), sizeof(Point));
  EXPECT_EQ(encode(std::vector<Point>(10)).bytes.size(), 8 + 10 * sizeof(Point));
  EXPECT_EQ(encode(std::vector<bool>(17)).bytes.size(), 8u + 3u);
}

TEST(EncodeTest, RefusesAVariantWithoutValue) {
  std::variant<int, Picky> variant(5);
  EXPECT_THROW(variant.emplace<1>(-1), std::invalid_argument);
  ASSERT_TRUE(variant.valueless_by_exception());

  EXPECT_THROW(encode(variant), multiproc::Error);
}

TEST(EncoderTest, StaysInTheRoomItWasGivenWhileThatSuffices) {
  std::array<std::byte, 64> room;
  Encoder encoder{room};

  encoder(std::string("short"), 7);

  EXPECT_TRUE(encoder.fits());
  EXPECT_EQ(encoder.bytes().data(), room.data());
  Decoder decoder(encoder.bytes());
  EXPECT_EQ(decoder.read<std::string>(), "short");
  EXPECT_EQ(decoder.read<int>(), 7);
  decoder.finish();
}

TEST(EncoderTest, MovesOutOfTheRoomWithAllThatItWrote) {
  struct {
    std::array<std::byte, 16> room;
    std::array<std::byte, 16> after;
  } memory{};
  Encoder encoder{memory.room};

  encoder(std::string("short"));
  EXPECT_TRUE(encoder.fits());
  encoder(std::string(1000, 'x'), 7);

  EXPECT_FALSE(encoder.fits());
  EXPECT_EQ(memory.after, (std::array<std::byte, 16>{}));
  const Encoded message = encoder.take();
  Decoder decoder(message.bytes);
  EXPECT_EQ(decoder.read<std::string>(), "short");
  EXPECT_EQ(decoder.read<std::string>(), std::string(1000, 'x'));
  EXPECT_EQ(decoder.read<int>(), 7);
  EXPECT_EQ(decoder.left(), 0u);
}

TEST(EncoderTest, TakeCopiesOutOfTheRoomAndLeavesAnEmptyEncoder) {
  std::array<std::byte, 64> room{};
  Encoder encoder{room};
  encoder(7);

  const Encoded message = encoder.take();
  room.fill(std::byte{0xff});

  EXPECT_EQ(decode<int>(message.bytes), 7);
  EXPECT_EQ(encoder.size(), 0u);
  encoder(8);
  EXPECT_EQ(decode<int>(encoder.bytes()), 8);
}

TEST(EncoderTest, GrowsByManySmallValues) {
  Encoder encoder;
  for (int i = 0; i < 10000; ++i) encoder << i;

  Decoder decoder(encoder.bytes());
  for (int i = 0; i < 10000; ++i) ASSERT_EQ(decoder.read<int>(), i);
  decoder.finish();
}

TEST(DescriptorTest, TravelsBesideTheBytes) {
  auto ends = multiproc::os::make_pipe().or_throw("a pipe");
  std::vector<Descriptor> sent(2);
  sent[0].fd = std::move(ends.read);
  sent[1].fd = std::move(ends.write);

  Encoded message = encode(sent);
  ASSERT_EQ(message.fds.size(), 2u);
  sent.clear();
  const auto received = decode<std::vector<Descriptor>>(std::move(message));

  ASSERT_EQ(received.size(), 2u);
  std::byte byte{42};
  ASSERT_TRUE(multiproc::os::write_all(received[1].fd.get(), std::span(&byte, 1)).ok());
  std::byte got{0};
  ASSERT_TRUE(multiproc::os::read_some(received[0].fd.get(), std::span(&got, 1)).ok());
  EXPECT_EQ(got, byte);
}

TEST(DescriptorTest, IsRefusedWhenItIsMissingOrClaimedTwiceOrLeftOver) {
  auto ends = multiproc::os::make_pipe().or_throw("a pipe");
  std::vector<Descriptor> sent(2);
  sent[0].fd = std::move(ends.read);
  sent[1].fd = std::move(ends.write);

  Encoded missing = encode(sent);
  missing.fds.pop_back();
  EXPECT_THROW(decode<std::vector<Descriptor>>(std::move(missing)), DecodeError);

  Encoded twice = encode(sent);
  twice.bytes[twice.bytes.size() - 4] = std::byte{0};
  EXPECT_THROW(decode<std::vector<Descriptor>>(std::move(twice)), DecodeError);

  Encoded spare = encode(7);
  spare.fds = std::move(encode(sent).fds);
  EXPECT_THROW(decode<int>(std::move(spare)), DecodeError);
}

TEST(FingerprintTest, TellsTypesApart) {
  using multiproc::type_fingerprint;
  const std::vector<std::uint64_t> prints{
      type_fingerprint<int>(),
      type_fingerprint<unsigned>(),
      type_fingerprint<long>(),
      type_fingerprint<std::string>(),
      type_fingerprint<std::vector<int>>(),
      type_fingerprint<std::vector<long>>(),
      type_fingerprint<Point>(),
      type_fingerprint<Flags>(),
      type_fingerprint<Tree>(),
      type_fingerprint<Everything>(),
      type_fingerprint<std::pair<int, long>>(),
      type_fingerprint<std::pair<long, int>>(),
  };

  EXPECT_EQ(std::set(prints.begin(), prints.end()).size(), prints.size());
  EXPECT_EQ(type_fingerprint<const Point>(), type_fingerprint<Point>());
}

TEST(TypeNameTest, IsTheName) {
  EXPECT_EQ(multiproc::detail::type_name<int>(), "int");
  EXPECT_EQ((multiproc::detail::type_name<std::pair<int, char>>()), "std::pair<int, char>");
}

}  // namespace
