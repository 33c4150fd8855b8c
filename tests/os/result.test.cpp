// SPDX-License-Identifier: MIT

#include <multiproc/os/result.hpp>

#include <cerrno>
#include <memory>
#include <string>
#include <system_error>
#include <type_traits>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>

namespace {

using multiproc::SystemError;
using multiproc::os::Failure;
using multiproc::os::Result;

static_assert(std::is_nothrow_move_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(!std::is_copy_constructible_v<Result<std::unique_ptr<int>>>);
static_assert(!std::is_convertible_v<Result<int>, bool>);

std::string text_of(Failure failure, std::string_view object, std::string_view remedy) {
  try {
    (void)Result<int>{failure}.or_throw(object, remedy);
  } catch (const SystemError& error) {
    return error.what();
  }
  return "nothing was thrown";
}

TEST(ResultTest, WithoutAnErrorItIsItsValue) {
  Result<int> result{42};

  EXPECT_TRUE(result.ok());
  EXPECT_TRUE(result);
  EXPECT_EQ(result.error(), 0);
  EXPECT_EQ(result.value(), 42);
  EXPECT_EQ(std::move(result).or_throw("never seen"), 42);
}

TEST(ResultTest, WithAnErrorItIsTheCallAndItsErrno) {
  const Result<int> result{Failure{"pipe2", EMFILE}};

  EXPECT_FALSE(result.ok());
  EXPECT_FALSE(result);
  EXPECT_EQ(result.error(), EMFILE);
  EXPECT_STREQ(result.failure().call, "pipe2");
}

TEST(ResultTest, OneWithoutAValueIsGoodByDefault) {
  EXPECT_TRUE(Result<>{}.ok());
  EXPECT_NO_THROW(Result<>{}.or_throw("never seen"));
}

TEST(ResultTest, OneValueMovesThroughWithoutACopy) {
  Result<std::unique_ptr<int>> result{std::make_unique<int>(7)};

  const auto owned = std::move(result).or_throw("never seen");

  EXPECT_EQ(*owned, 7);
}

TEST(ResultTest, ThrowsCallObjectReasonAndRemedy) {
  EXPECT_EQ(text_of({"pipe2", EMFILE}, "queue 'jobs'", "Raise the limit"),
            "pipe2: queue 'jobs': Too many open files. Raise the limit");
  EXPECT_EQ(text_of({"pipe2", EMFILE}, "queue 'jobs'", ""), "pipe2: queue 'jobs': Too many open files");
  EXPECT_EQ(text_of({"pipe2", EMFILE}, "", ""), "pipe2: Too many open files");
}

TEST(ResultTest, WhatItThrowsCarriesTheErrno) {
  try {
    Result<>{Failure{"mmap", ENOMEM}}.or_throw("a block");
    FAIL() << "nothing was thrown";
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code(), std::errc::not_enough_memory);
  }
}

}  // namespace
