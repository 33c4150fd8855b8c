// SPDX-License-Identifier: MIT
//
// Classes in each of cereal's styles, through our archives. cereal's headers come first here.

#include <cereal/cereal.hpp>
#include <cereal/types/base_class.hpp>
#include <cereal/types/common.hpp>
#include <cereal/types/deque.hpp>
#include <cereal/types/list.hpp>
#include <cereal/types/map.hpp>
#include <cereal/types/memory.hpp>
#include <cereal/types/polymorphic.hpp>
#include <cereal/types/set.hpp>
#include <cereal/types/string.hpp>
#include <cereal/types/unordered_map.hpp>
#include <cereal/types/utility.hpp>
#include <cereal/types/variant.hpp>
#include <cereal/types/vector.hpp>

#include <multiproc/ipc/encode.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>

using multiproc::decode;
using multiproc::DecodeError;
using multiproc::encode;
using multiproc::Sendable;

namespace user {

class MemberSerialize {
 public:
  MemberSerialize() = default;
  MemberSerialize(int a, std::string b) : a_(a), b_(std::move(b)) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(a_, b_);
  }
  bool operator==(const MemberSerialize&) const = default;

 private:
  int a_ = 0;
  std::string b_;
};

class PrivateSerialize {
 public:
  explicit PrivateSerialize(int a) : a_(a) {}
  bool operator==(const PrivateSerialize&) const = default;

 private:
  friend class cereal::access;
  PrivateSerialize() = default;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(CEREAL_NVP(a_));
  }
  int a_ = 0;
};

class MemberLoadSave {
 public:
  MemberLoadSave() = default;
  explicit MemberLoadSave(std::vector<int> values) : values_(std::move(values)) {}
  template <class Archive>
  void save(Archive& archive) const {
    archive(cereal::make_size_tag(static_cast<cereal::size_type>(values_.size())));
    archive(cereal::binary_data(values_.data(), values_.size() * sizeof(int)));
  }
  template <class Archive>
  void load(Archive& archive) {
    cereal::size_type size = 0;
    archive(cereal::make_size_tag(size));
    values_.resize(static_cast<std::size_t>(size));
    archive(cereal::binary_data(values_.data(), values_.size() * sizeof(int)));
  }
  bool operator==(const MemberLoadSave&) const = default;

 private:
  std::vector<int> values_;
};

class MemberMinimal {
 public:
  MemberMinimal() = default;
  explicit MemberMinimal(std::string text) : text_(std::move(text)) {}
  template <class Archive>
  std::string save_minimal(const Archive&) const {
    return text_;
  }
  template <class Archive>
  void load_minimal(const Archive&, const std::string& text) {
    text_ = text;
  }
  bool operator==(const MemberMinimal&) const = default;

 private:
  std::string text_;
};

class MemberVersioned {
 public:
  MemberVersioned() = default;
  explicit MemberVersioned(int a) : a_(a) {}
  template <class Archive>
  void serialize(Archive& archive, const std::uint32_t version) {
    archive& a_;
    version_ = version;
  }
  std::uint32_t version() const { return version_; }
  int a() const { return a_; }

 private:
  int a_ = 0;
  std::uint32_t version_ = 0;
};

class BothLibraries {
 public:
  BothLibraries() = default;
  explicit BothLibraries(int a) : a_(a) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(a_);
  }
  template <class Archive>
  void serialize(Archive& archive, const unsigned) {
    archive& a_;
    throw std::logic_error("not the one that shall be called");
  }
  bool operator==(const BothLibraries&) const = default;

 private:
  int a_ = 0;
};

struct FreeSerialize {
  int a = 0;
  int* not_sent = nullptr;
  bool operator==(const FreeSerialize&) const = default;
};
template <class Archive>
void serialize(Archive& archive, FreeSerialize& value) {
  archive(value.a);
}

class FreeLoadSave {
 public:
  explicit FreeLoadSave(int a = 0) : a_(a) {}
  int get() const { return a_; }
  void set(int a) { a_ = a; }
  bool operator==(const FreeLoadSave&) const = default;

 private:
  int a_ = 0;
};
template <class Archive>
void save(Archive& archive, const FreeLoadSave& value) {
  archive << value.get();
}
template <class Archive>
void load(Archive& archive, FreeLoadSave& value) {
  int a = 0;
  archive >> a;
  value.set(a);
}

class FreeMinimal {
 public:
  explicit FreeMinimal(int a = 0) : a_(a) {}
  int get() const { return a_; }
  void set(int a) { a_ = a; }
  bool operator==(const FreeMinimal&) const = default;

 private:
  int a_ = 0;
};
template <class Archive>
int save_minimal(const Archive&, const FreeMinimal& value) {
  return value.get();
}
template <class Archive>
void load_minimal(const Archive&, FreeMinimal& value, const int& a) {
  value.set(a);
}

class ThirdParty {  // with functions in namespace cereal
 public:
  explicit ThirdParty(int n = 0) : number(n) {}
  bool operator==(const ThirdParty&) const = default;
  int number;
};

class Base {
 public:
  explicit Base(int a = 0) : a_(a) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(a_);
  }
  bool operator==(const Base&) const = default;

 private:
  int a_;
};
class Derived : public Base {
 public:
  explicit Derived(int a = 0, int b = 0) : Base(a), b_(b) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cereal::base_class<Base>(this), cereal::make_nvp("b", b_));
  }
  bool operator==(const Derived&) const = default;

 private:
  int b_;
};

struct Top {
  int top = 0;
  int visits = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(top);
    ++visits;
  }
};
struct Left : virtual Top {
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cereal::virtual_base_class<Top>(this));
  }
};
struct Right : virtual Top {
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cereal::virtual_base_class<Top>(this));
  }
};
struct Diamond : Left, Right {
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cereal::base_class<Left>(this), cereal::base_class<Right>(this));
  }
};

class InheritsBoth : public Base {  // serialize from Base, its own load and save: specialised below
 public:
  explicit InheritsBoth(int c = 0) : c_(c) {}
  template <class Archive>
  void save(Archive& archive) const {
    archive(c_);
  }
  template <class Archive>
  void load(Archive& archive) {
    archive(c_);
  }
  bool operator==(const InheritsBoth&) const = default;

 private:
  int c_;
};

class Ambiguous : public Base {
 public:
  template <class Archive>
  void save(Archive&) const {}
  template <class Archive>
  void load(Archive&) {}
};

class Deferring {
 public:
  Deferring() = default;
  Deferring(int first, std::string later) : first_(first), later_(std::move(later)) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(cereal::defer(later_), first_);
    archive.serializeDeferments();
  }
  bool operator==(const Deferring&) const = default;

 private:
  int first_ = 0;
  std::string later_;
};

class Containers {
 public:
  template <class Archive>
  void serialize(Archive& archive) {
    archive(map, bits, array, pointer, nested);
  }
  std::map<std::string, MemberSerialize> map;
  std::vector<bool> bits;
  int array[2][2] = {};
  std::unique_ptr<MemberSerialize> pointer;
  std::optional<std::vector<MemberMinimal>> nested;
};

class SavesNothing {
 public:
  template <class Archive>
  void serialize(Archive&) {}
  bool operator==(const SavesNothing&) const = default;

 private:
  int unsaved_ = 3;
};

class Positive {
 public:
  explicit Positive(int n = 1) : n_(n) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(n_);
    if (n_ <= 0) throw std::invalid_argument("n must be positive");
  }

 private:
  int n_;
};

class ThrowsCereal {
 public:
  template <class Archive>
  void save(Archive& archive) const {
    archive(1);
  }
  template <class Archive>
  void load(Archive&) {
    throw cereal::Exception("no such thing");
  }
};

struct Tree {
  std::unique_ptr<Tree> left;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(left);
  }
};

class BoostStyle {
 public:
  explicit BoostStyle(int a = 0) : a_(a) {}
  template <class Archive>
  void serialize(Archive& archive, const unsigned /*version*/) {
    archive& a_;
  }
  bool operator==(const BoostStyle&) const = default;

 private:
  int a_;
};

}  // namespace user

CEREAL_CLASS_VERSION(user::MemberVersioned, 7)
CEREAL_SPECIALIZE_FOR_ALL_ARCHIVES(user::InheritsBoth, cereal::specialization::member_load_save)

namespace cereal {

template <class Archive>
void serialize(Archive& archive, user::ThirdParty& value) {
  archive(value.number);
}

}  // namespace cereal

namespace {

template <class T>
T there_and_back(const T& value) {
  return decode<T>(encode(value).bytes);
}

template <class T>
void expect_truncations_refused(const T& value) {
  const auto message = encode(value);
  for (std::size_t size = 0; size < message.bytes.size(); ++size) {
    const std::vector<std::byte> cut(message.bytes.begin(), message.bytes.begin() + size);
    EXPECT_THROW(decode<T>(cut), DecodeError);
  }
}

template <class T>
void expect_round_trip(const T& value) {
  EXPECT_EQ(there_and_back(value), value);
  EXPECT_EQ(there_and_back(std::vector<T>{value, value}), (std::vector<T>{value, value}));
  expect_truncations_refused(value);
}

TEST(CerealTest, ServesEveryStyle) {
  expect_round_trip(user::MemberSerialize(1, "x"));
  expect_round_trip(user::PrivateSerialize(2));
  expect_round_trip(user::MemberLoadSave({1, 2, 3}));
  expect_round_trip(user::MemberMinimal("x"));
  expect_round_trip(user::FreeSerialize{4});
  expect_round_trip(user::FreeLoadSave(5));
  expect_round_trip(user::FreeMinimal(6));
  expect_round_trip(user::ThirdParty(7));
  expect_round_trip(user::Derived(8, 9));
  expect_round_trip(user::InheritsBoth(10));
  expect_round_trip(user::BothLibraries(11));
  expect_round_trip(user::BoostStyle(12));
  expect_round_trip(user::Deferring(13, "later"));
}

TEST(CerealTest, SendsAVersionOncePerClassAndMessage) {
  const std::vector<user::MemberVersioned> sent{user::MemberVersioned(1), user::MemberVersioned(2)};

  const auto message = encode(sent);
  const auto back = decode<std::vector<user::MemberVersioned>>(message.bytes);

  EXPECT_EQ(message.bytes.size(), 8u + 4u + 2u * (1u + 4u));
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back[0].version(), 7u);
  EXPECT_EQ(back[1].version(), 7u);
  EXPECT_EQ(back[1].a(), 2);
}

TEST(CerealTest, VisitsAVirtualBaseOnce) {
  user::Diamond diamond;
  diamond.top = 5;

  const auto message = encode(diamond);
  const auto back = decode<user::Diamond>(message.bytes);

  EXPECT_EQ(message.bytes.size(), sizeof(int));
  EXPECT_EQ(back.top, 5);
  EXPECT_EQ(back.visits, 1);
}

TEST(CerealTest, UsesOurWayForWhatAClassContains) {
  user::Containers sent;
  sent.map.emplace("a", user::MemberSerialize(1, "x"));
  sent.bits = {true, false, true};
  sent.array[1][0] = 7;
  sent.pointer = std::make_unique<user::MemberSerialize>(2, "y");
  sent.nested = {user::MemberMinimal("z")};

  const auto back = there_and_back(sent);

  EXPECT_EQ(back.map, sent.map);
  EXPECT_EQ(back.bits, sent.bits);
  EXPECT_EQ(back.array[1][0], 7);
  ASSERT_NE(back.pointer, nullptr);
  EXPECT_EQ(*back.pointer, *sent.pointer);
  EXPECT_EQ(back.nested, sent.nested);
  expect_truncations_refused(sent);
}

TEST(CerealTest, BelievesNoLengthOfClassesThatSaveNothing) {
  using Nothings = std::vector<user::SavesNothing>;
  EXPECT_EQ(there_and_back(Nothings(3)), Nothings(3));

  multiproc::Encoder encoder;
  encoder(std::uint64_t{1} << 60);
  EXPECT_THROW(decode<Nothings>(encoder.bytes()), DecodeError);
}

TEST(CerealTest, BelievesNoSizeTagThatTheBytesCantHold) {
  multiproc::Encoder encoder;
  encoder(std::uint64_t{1} << 60);

  EXPECT_THROW(decode<user::MemberLoadSave>(encoder.bytes()), DecodeError);
}

TEST(CerealTest, TurnsWhatAClassThrowsIntoDecodeError) {
  const int wrong = -1;
  try {
    decode<user::Positive>(encode(wrong).bytes);
    FAIL() << "no exception";
  } catch (const DecodeError& error) {
    EXPECT_NE(std::string(error.what()).find("n must be positive"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("Positive"), std::string::npos) << error.what();
  }
  EXPECT_THROW(there_and_back(user::ThrowsCereal()), DecodeError);
}

TEST(CerealTest, RefusesNestingThatWouldEatTheStack) {
  auto tree_of = [](int depth) {
    user::Tree tree;
    for (int i = 1; i < depth; ++i) {
      auto below = std::make_unique<user::Tree>(std::move(tree));
      tree = user::Tree{std::move(below)};
    }
    return tree;
  };
  const user::Tree deep = tree_of(1000);
  const user::Tree too_deep = tree_of(1001);

  const auto message = encode(deep);
  EXPECT_NO_THROW(decode<user::Tree>(message.bytes));
  EXPECT_THROW(encode(too_deep), multiproc::Error);
  const std::vector<std::byte> hostile(1000000, std::byte{1});
  EXPECT_THROW(decode<user::Tree>(hostile), DecodeError);
}

TEST(CerealTest, RefusesClassesThatCerealCouldNotChooseFor) {
  using Found = multiproc::detail::VerdictOf<user::Ambiguous>;
  EXPECT_EQ(Found::reason, multiproc::detail::Reason::ambiguous_cereal);
}

TEST(CerealTest, RefusesSharedPointersThoughCerealCouldCopyThem) {
  EXPECT_FALSE(Sendable<std::shared_ptr<int>>);
  EXPECT_FALSE(Sendable<std::vector<std::shared_ptr<int>>>);
}

}  // namespace
