// SPDX-License-Identifier: MIT

#include <multiproc/error.hpp>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>

#include <gtest/gtest.h>

namespace {

using namespace multiproc;

static_assert(std::is_base_of_v<std::system_error, SystemError>);
static_assert(!std::is_base_of_v<Error, SystemError>);
static_assert(std::is_base_of_v<std::runtime_error, Error>);
static_assert(std::is_base_of_v<LaunchError, MainGuardMissing>);
// An exception whose copy throws ends the program at the worst of moments.
static_assert(std::is_nothrow_copy_constructible_v<SystemError>);
static_assert(std::is_nothrow_copy_constructible_v<Error>);

template <class E>
class ErrorTest : public testing::Test {};
using Errors =
    testing::Types<InvalidState, Unsupported, NotSendable, DecodeError, LaunchError, MainGuardMissing, TimeoutError>;
TYPED_TEST_SUITE(ErrorTest, Errors);

TYPED_TEST(ErrorTest, IsCaughtAsErrorWithItsTextWhole) {
  try {
    throw TypeParam{"what happened. What to do."};
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "what happened. What to do.");
    EXPECT_NE(dynamic_cast<const TypeParam*>(&error), nullptr);
  }
}

TEST(SystemErrorTest, SaysItsTextAloneAndCarriesTheErrno) {
  try {
    throw SystemError{EMFILE, "pipe2: queue 'jobs': Too many open files. Raise the limit."};
  } catch (const std::system_error& error) {
    // std::system_error would have put the reason behind it a second time.
    EXPECT_STREQ(error.what(), "pipe2: queue 'jobs': Too many open files. Raise the limit.");
    EXPECT_EQ(error.code(), std::errc::too_many_files_open);
    EXPECT_EQ(error.code().value(), EMFILE);
  }
}

TEST(SystemErrorTest, ACopyKeepsTheTextWhenTheOriginalIsGone) {
  SystemError copy{0, ""};
  {
    const SystemError original{ENOMEM, std::string(200, 'x')};
    copy = original;
  }

  EXPECT_EQ(copy.what(), std::string(200, 'x'));
  EXPECT_EQ(copy.code().value(), ENOMEM);
}

}  // namespace
