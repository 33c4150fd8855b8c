// SPDX-License-Identifier: MIT

#include <multiproc/ipc/sendable.hpp>

#include <array>
#include <atomic>
#include <bitset>
#include <chrono>
#include <complex>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <future>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <mutex>
#include <optional>
#include <set>
#include <shared_mutex>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>
#include <boost/container/deque.hpp>
#include <boost/container/flat_map.hpp>
#include <boost/container/flat_set.hpp>
#include <boost/container/list.hpp>
#include <boost/container/map.hpp>
#include <boost/container/slist.hpp>
#include <boost/container/small_vector.hpp>
#include <boost/container/static_vector.hpp>
#include <boost/container/string.hpp>
#include <boost/container/vector.hpp>

using multiproc::Sendable;
using multiproc::Shareable;
using multiproc::detail::layout;
using multiproc::detail::Reason;

namespace {

enum class Colour : std::uint8_t { red, green };
enum Plain { one, two };

struct Empty {};
struct Point {
  int x = 0;
  int y = 0;
};
struct Arrays {
  char name[300];
  int grid[2][3];
  std::string texts[2];
  bool last;
};
struct NoDefault {
  explicit NoDefault(int n) : number(n) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number);
  }
  int number;
};
struct HoldsNoDefault {
  int a[3];
  NoDefault b;
  std::string c;
};
struct InitialisedNoDefault {
  int a[2];
  NoDefault b{3};
  std::string c;
};
struct MoveOnly {
  std::unique_ptr<int> value;
  std::string name;
};
struct Bits {
  unsigned a : 3;
  unsigned b : 5;
};
struct Tag {};
struct Tagged : Tag {
  int x;
  std::string y;
};
struct Base {
  int x;
};
struct Derived : Base {
  int y;
};
struct Reference {
  int& r;
};
struct ConstReference {
  const int& r;
};
struct Pointer {
  int a;
  const char* b;
};
struct Deep {
  int a;
  std::map<std::string, std::vector<std::optional<Pointer>>> b;
};
struct Tree {
  int value;
  std::vector<Tree> children;
};
struct Chain {
  int value;
  std::unique_ptr<Chain> next;
};
struct TreeOfPointers {
  std::vector<TreeOfPointers> children;
  void* data;
};
struct M32 {
  int a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, c0, c1, c2, c3, c4, c5, c6, c7,
      c8, c9, d0, d1;
};
struct M33 {
  M32 a;
  int a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, c0, c1, c2, c3, c4, c5, c6, c7,
      c8, c9, d0, d1;
};
union Either {
  int a;
  float b;
};
class Opaque {
 public:
  explicit Opaque(int value) : value_(value) {}
  int value() const { return value_; }

 private:
  int value_;
};
class SaidSo {
 public:
  explicit SaidSo(int value) : value_(value) {}
  int value() const { return value_; }

 private:
  int value_;
};
struct Document : std::vector<int> {
  std::string title;
};
template <class T>
struct TitledVector : std::vector<T> {
  std::string title;
};
struct Virtual {
  virtual ~Virtual() = default;
  int x = 0;
};
struct Handle {
  int number = -1;
};
struct Optional {  // members that swallow anything
  std::optional<int> a;
  std::variant<int, std::string> b;
  std::vector<std::optional<std::string>> c;
};

}  // namespace

template <>
inline constexpr bool multiproc::sendable_as_bytes<SaidSo> = true;

template <>
struct multiproc::Travel<Handle> {
  static void encode(Encoder& to, const Handle& handle);
  static Handle decode(Decoder& from);
};

namespace {

template <class... Ts>
constexpr bool all_sendable = (Sendable<Ts> && ...);
template <class... Ts>
constexpr bool none_sendable = (!Sendable<Ts> && ...);

template <class T>
constexpr Reason reason = multiproc::detail::VerdictOf<T>::reason;

TEST(SendableTest, TakesScalarsAndEnums) {
  EXPECT_TRUE((all_sendable<bool, char, signed char, char8_t, char16_t, char32_t, wchar_t, short, int, unsigned, long,
                            unsigned long long, float, double, long double, std::byte, Colour, Plain, const int>));
}

TEST(SendableTest, TakesContainersThatOwnTheirElements) {
  EXPECT_TRUE(
      (all_sendable<std::string, std::wstring, std::u8string, std::vector<int>, std::vector<bool>,
                    std::vector<std::vector<std::string>>, std::deque<int>, std::list<int>, std::forward_list<int>,
                    std::array<std::string, 3>, std::array<int, 0>, std::set<int>, std::multiset<std::string>,
                    std::map<int, std::string>, std::multimap<int, int>, std::unordered_set<int>,
                    std::unordered_multiset<int>, std::unordered_map<int, bool>,
                    std::unordered_multimap<std::string, std::vector<int>>, std::pmr::vector<int>, std::pmr::string>));
}

TEST(SendableTest, TakesContainersThatLookLikeTheStandardOnes) {
  namespace bc = boost::container;
  EXPECT_TRUE((all_sendable<bc::vector<int>, bc::string, bc::map<int, std::string>, bc::flat_map<std::string, int>,
                            bc::flat_set<int>, bc::deque<int>, bc::list<int>, bc::slist<int>, bc::small_vector<int, 4>,
                            bc::static_vector<int, 4>>));
}

TEST(SendableTest, TakesVocabularyTypes) {
  EXPECT_TRUE(
      (all_sendable<std::pair<int, std::string>, std::tuple<>, std::tuple<int, bool, std::string>,
                    std::optional<std::string>, std::variant<std::monostate, int, std::string>, std::monostate,
                    std::chrono::nanoseconds, std::chrono::duration<double>, std::chrono::system_clock::time_point,
                    std::chrono::steady_clock::time_point, std::complex<double>, std::bitset<7>, std::bitset<200>,
                    std::filesystem::path, std::unique_ptr<int>>));
}

TEST(SendableTest, LooksIntoAggregates) {
  EXPECT_TRUE(
      (all_sendable<Empty, Point, Arrays, InitialisedNoDefault, MoveOnly, Bits, Tagged, Tree, Chain, M32, Optional>));
}

TEST(SendableTest, CountsMembersAndNotTheElementsOfArrays) {
  EXPECT_EQ(layout<Point>.members, 2u);
  EXPECT_EQ(layout<Arrays>.members, 4u);
  EXPECT_EQ(layout<HoldsNoDefault>.members, 3u);
  EXPECT_EQ(layout<InitialisedNoDefault>.members, 3u);
  EXPECT_EQ(layout<MoveOnly>.members, 2u);
  EXPECT_EQ(layout<Bits>.members, 2u);
  EXPECT_EQ(layout<Tagged>.members, 2u);
  EXPECT_EQ(layout<M32>.members, 32u);
  EXPECT_EQ(layout<Optional>.members, 3u);
}

TEST(SendableTest, RefusesWhatPointsIntoThisProcess) {
  EXPECT_EQ(reason<int*>, Reason::pointer);
  EXPECT_EQ(reason<const char*>, Reason::pointer);
  EXPECT_EQ(reason<std::nullptr_t>, Reason::pointer);
  EXPECT_EQ(reason<void (*)(int)>, Reason::function_pointer);
  EXPECT_EQ(reason<int Point::*>, Reason::function_pointer);
  EXPECT_EQ(reason<int&>, Reason::reference);
  EXPECT_EQ(reason<std::string&&>, Reason::reference);
  EXPECT_EQ(reason<std::string_view>, Reason::view);
  EXPECT_EQ(reason<std::span<int>>, Reason::view);
  EXPECT_EQ((reason<std::span<const int, 4>>), Reason::view);
  EXPECT_EQ(reason<std::reference_wrapper<int>>, Reason::reference_wrapper);
  EXPECT_EQ(reason<std::function<void()>>, Reason::function);
  EXPECT_EQ(reason<std::shared_ptr<int>>, Reason::shared_pointer);
  EXPECT_EQ(reason<std::weak_ptr<int>>, Reason::shared_pointer);
  EXPECT_EQ(reason<std::unique_ptr<Virtual>>, Reason::polymorphic);
  EXPECT_EQ(reason<std::unique_ptr<int[]>>, Reason::pointer);
  EXPECT_EQ(reason<int[4]>, Reason::array);
}

TEST(SendableTest, RefusesWhatBelongsToThisProcess) {
  EXPECT_EQ(reason<std::mutex>, Reason::lock);
  EXPECT_EQ(reason<std::recursive_mutex>, Reason::lock);
  EXPECT_EQ(reason<std::shared_mutex>, Reason::lock);
  EXPECT_EQ(reason<std::unique_lock<std::mutex>>, Reason::lock);
  EXPECT_EQ(reason<std::thread>, Reason::thread);
  EXPECT_EQ(reason<std::jthread>, Reason::thread);
  EXPECT_TRUE((none_sendable<std::condition_variable, std::future<int>, std::promise<int>, std::atomic<int>, void>));
}

TEST(SendableTest, RefusesClassesThatSayNothing) {
  EXPECT_EQ(reason<Opaque>, Reason::bytes_not_said);
  EXPECT_EQ(reason<Derived>, Reason::not_seen_through);
  EXPECT_EQ(reason<Reference>, Reason::not_seen_through);
  EXPECT_EQ(reason<ConstReference>, Reason::reference);
  EXPECT_EQ(reason<HoldsNoDefault>, Reason::const_with_array);
  EXPECT_EQ(reason<M33>, Reason::not_seen_through);
  EXPECT_EQ(reason<Either>, Reason::not_seen_through);
  EXPECT_EQ(reason<Virtual>, Reason::unknown);
  EXPECT_TRUE(Sendable<SaidSo>);
  EXPECT_TRUE(Sendable<Handle>);
}

TEST(SendableTest, DoesNotTakeAClassWithMembersOfItsOwnForTheContainerThatItDerivesFrom) {
  EXPECT_FALSE(Sendable<Document>);
  EXPECT_FALSE(Sendable<TitledVector<int>>);
}

TEST(SendableTest, FindsTheOffenderInside) {
  using Found = multiproc::detail::VerdictOf<Deep>;
  EXPECT_EQ(Found::reason, Reason::pointer);
  EXPECT_TRUE((std::is_same_v<Found::offender, const char*>));
  EXPECT_TRUE((none_sendable<std::vector<int*>, std::map<int, std::string_view>, std::pair<int, int&>,
                             std::tuple<std::mutex*>, std::variant<int, char*>, std::optional<std::span<int>>,
                             std::array<void*, 2>, TreeOfPointers, std::vector<Opaque>>));
}

TEST(SendableTest, NamesTypeOffenderAndRemedyAtRunTime) {
  const std::string text = multiproc::why_not_sendable_text<Deep>();

  EXPECT_NE(text.find("Deep"), text.npos) << text;
  EXPECT_NE(text.find("const char"), text.npos) << text;
  EXPECT_NE(text.find("send the value, a std::string, or a SharedMemory"), text.npos) << text;
  EXPECT_EQ(multiproc::why_not_sendable_text<Point>(), nullptr);
  EXPECT_EQ(multiproc::detail::why_not_sendable<Point>(), nullptr);
}

TEST(ShareableTest, TakesWhatMayLieInSharedMemoryAsItIs) {
  EXPECT_TRUE((Shareable<int> && Shareable<bool> && Shareable<Colour> && Shareable<Point> && Shareable<Empty>));
  EXPECT_TRUE((Shareable<std::array<int, 3>> && Shareable<std::optional<int>> && Shareable<std::variant<int, double>>));
  EXPECT_TRUE((Shareable<std::chrono::seconds> && Shareable<std::complex<float>> && Shareable<std::bitset<9>>));
  EXPECT_TRUE((Shareable<SaidSo> && Shareable<M32> && Shareable<Bits> && Shareable<int[4]>));
}

TEST(ShareableTest, RefusesPointersAndWhatIsNotTriviallyCopyable) {
  EXPECT_FALSE(
      (Shareable<int*> || Shareable<Pointer> || Shareable<std::optional<int*>> || Shareable<std::string_view>));
  EXPECT_FALSE((Shareable<std::string> || Shareable<Arrays> || Shareable<Tree> || Shareable<int&>));
  EXPECT_FALSE((Shareable<Opaque> || Shareable<Handle> || Shareable<std::reference_wrapper<int>>));
}

}  // namespace
