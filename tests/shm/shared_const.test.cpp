// SPDX-License-Identifier: MIT

#include <multiproc/shm/shared_const.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/mman.h>
#include <sys/resource.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using multiproc::DecodeError;
using multiproc::SharedConst;
using multiproc::SystemError;
using multiproc::Unsupported;

struct Table {
  int rows = 0;
  std::array<double, 3> factors{};
};
struct alignas(4096) Wide {
  int first = 0;
};

static_assert(multiproc::Sendable<SharedConst<Table>> && multiproc::Sendable<SharedConst<std::vector<int>>>);
static_assert(std::is_same_v<decltype(SharedConst(Table{})), SharedConst<Table>>);
static_assert(std::is_same_v<decltype(SharedConst(std::vector<float>{})), SharedConst<std::vector<float>>>);
static_assert(std::is_same_v<decltype(SharedConst(std::declval<const SharedConst<std::vector<int>>&>())),
                             SharedConst<std::vector<int>>>);
static_assert(std::is_same_v<decltype(*std::declval<SharedConst<Table>&>()), const Table&>);
static_assert(std::is_same_v<decltype(std::declval<SharedConst<std::string>&>()[0]), const char&>);
static_assert(std::ranges::contiguous_range<SharedConst<std::vector<int>>>);
static_assert(multiproc::detail::RangeOfShareables<std::vector<Table>>);
static_assert(!multiproc::detail::RangeOfShareables<std::vector<std::string>>);
static_assert(!multiproc::detail::RangeOfShareables<std::vector<int*>>);

TEST(SharedConstTest, OfAStringGivesAStringView) {
  const SharedConst text(std::string("a word"));
  const std::string_view view = text.get();
  EXPECT_EQ(view, "a word");
  EXPECT_EQ(*text, "a word");
  EXPECT_EQ(view.data(), text.data());
  EXPECT_EQ(SharedConst(std::string()).get(), "");
}

TEST(SharedConstTest, IsMadeFromAListOfElements) {
  const SharedConst<std::vector<int>> numbers({1, 2, 3});
  const SharedConst<std::vector<int>> copy{numbers};
  EXPECT_EQ(copy.size(), 3U);
  EXPECT_EQ(copy[2], 3);
}

TEST(SharedConstTest, HoldsAValue) {
  const SharedConst table(Table{3, {1, 2, 4}});

  EXPECT_EQ(table->rows, 3);
  EXPECT_EQ((*table).factors[2], 4);
  EXPECT_EQ(&table.get(), &*table);
}

TEST(SharedConstTest, HoldsTheElementsOfARange) {
  std::vector<int> numbers(10'000);
  std::iota(numbers.begin(), numbers.end(), 0);

  const SharedConst shared(numbers);

  EXPECT_EQ(shared.size(), numbers.size());
  EXPECT_TRUE(std::ranges::equal(shared, numbers));
  EXPECT_EQ(shared[9'999], 9'999);
  EXPECT_EQ(shared.get().data(), shared.data());
  const SharedConst<std::vector<int>> part(std::span<const int>(numbers).subspan(5, 2));
  EXPECT_EQ(part[1], 6);
  const SharedConst text(std::string("text"));
  EXPECT_EQ(std::string_view(text.data(), text.size()), "text");
}

TEST(SharedConstTest, ARangeMayBeEmpty) {
  const SharedConst shared(std::vector<int>{});

  EXPECT_TRUE(shared.empty());
  EXPECT_EQ(shared.begin(), shared.end());
  const auto arrived = multiproc::decode<SharedConst<std::vector<int>>>(multiproc::encode(shared));
  EXPECT_TRUE(arrived.empty());
}

TEST(SharedConstTest, AlignmentUpToAPageIsKept) {
  const SharedConst wide(Wide{7});
  const SharedConst many(std::vector<Wide>(3));

  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&*wide) % alignof(Wide), 0U);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(many.data()) % alignof(Wide), 0U);
}

TEST(SharedConstTest, CopiesShareTheOneValueAndAMoveIsACopy) {
  SharedConst first(Table{3, {}});
  const SharedConst second = first;
  const SharedConst third = std::move(first);

  EXPECT_EQ(&*second, &*third);
  EXPECT_EQ(first->rows, 3);  // NOLINT(bugprone-use-after-move): that is what is tested
}

TEST(SharedConstTest, ForkedChildrenReadIt) {
  const SharedConst shared(std::vector<int>{1, 2, 3});

  const auto child = support::in_child([&] { EXPECT_EQ(shared[2], 3); });

  EXPECT_EQ(child.status, 0) << child.out;
}

TEST(SharedConstTest, ItIsSentByDescriptorAndIsTheSameMemory) {
  std::vector<double> numbers(100'000, 0.5);
  const SharedConst shared(numbers);
  auto message = multiproc::encode(shared);
  EXPECT_LT(message.bytes.size(), 100U);
  EXPECT_EQ(message.fds.size(), 1U);

  const auto child = support::in_child([&] {
    const auto arrived = multiproc::decode<SharedConst<std::vector<double>>>(message.bytes, std::move(message.fds));
    EXPECT_EQ(arrived.size(), 100'000U);
    EXPECT_EQ(arrived[99'999], 0.5);
    EXPECT_NE(arrived.data(), shared.data());
  });

  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

TEST(SharedConstTest, WritingToItIsASegmentationFaultForReaderAndBuilder) {
  const SharedConst shared(Table{3, {}});
  const auto write_to = [](const Table& table) {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would turn it into a report
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    const_cast<volatile int&>(table.rows) = 4;
  };

  const auto builder = support::in_child([&] { write_to(*shared); });
  const auto reader =
      support::in_child([&] { write_to(*multiproc::decode<SharedConst<Table>>(multiproc::encode(shared))); });

  EXPECT_EQ(builder.status, -SIGSEGV);
  EXPECT_EQ(reader.status, -SIGSEGV);
  EXPECT_EQ(shared->rows, 3);
}

TEST(SharedConstTest, WhoGetsTheDescriptorCantMapItForWriting) {
  auto message = multiproc::encode(SharedConst(Table{3, {}}));

  void* const at = ::mmap(nullptr, sizeof(Table), PROT_READ | PROT_WRITE, MAP_SHARED, message.fds.at(0).get(), 0);

  EXPECT_EQ(at, MAP_FAILED);
  EXPECT_EQ(errno, EPERM);
}

TEST(SharedConstTest, WhatArrivesOtherThanItWasSentIsADecodeError) {
  const SharedConst shared(std::vector<int>{1, 2, 3});

  EXPECT_THROW(multiproc::decode<SharedConst<Table>>(multiproc::encode(shared)), DecodeError) << "another size";
  EXPECT_THROW(multiproc::decode<SharedConst<std::vector<double>>>(multiproc::encode(shared)), DecodeError)
      << "12 bytes are no doubles";
  EXPECT_THROW(multiproc::decode<SharedConst<int>>(multiproc::encode(SharedConst(std::vector<int>{}))), DecodeError);
  auto larger = multiproc::encode(shared);
  larger.fds = std::move(multiproc::encode(SharedConst(std::vector<int>{1, 2})).fds);
  EXPECT_THROW(multiproc::decode<SharedConst<std::vector<int>>>(std::move(larger)), DecodeError) << "less memory";
  auto alone = multiproc::encode(shared);
  alone.fds.clear();
  EXPECT_THROW(multiproc::decode<SharedConst<std::vector<int>>>(std::move(alone)), DecodeError) << "no descriptor";
}

TEST(SharedConstTest, EachRefusalOfTheKernelIsASystemErrorThatLeavesNothing) {
  const auto refused = [](const char* call, int error) {
    const auto before = os_test::descriptors();
    const os_test::Refusing refusing{call, error};
    try {
      const SharedConst shared(Table{});
      ADD_FAILURE() << call << " was refused and nobody said so";
    } catch (const SystemError& thrown) {
      EXPECT_EQ(thrown.code().value(), error) << call;
    }
    EXPECT_EQ(os_test::descriptors(), before) << call;
  };

  for (const int error : {EMFILE, ENFILE, ENOMEM}) refused("memfd_create", error);
  for (const int error : {ENOSPC, ENOMEM}) refused("write", error);
  for (const int error : {ENOMEM, EMFILE}) refused("mmap", error);
}

TEST(SharedConstTest, WithoutMemfdItServesForkedChildrenAndCantBeSent) {
  const os_test::Refusing refusing{"memfd_create", EPERM};

  const SharedConst shared(std::vector<int>{1, 2, 3});
  const auto child = support::in_child([&] { EXPECT_EQ(shared[2], 3); });

  EXPECT_EQ(child.status, 0) << child.out;
  EXPECT_THROW(multiproc::encode(shared), Unsupported);
}

}  // namespace
