// SPDX-License-Identifier: MIT

#include <multiproc/exit_status.hpp>

#include <chrono>
#include <csignal>
#include <type_traits>

#include <gtest/gtest.h>

namespace {

using namespace std::chrono_literals;
using multiproc::ExitStatus;

static_assert(!std::is_default_constructible_v<ExitStatus>);
static_assert(std::is_nothrow_copy_constructible_v<ExitStatus>);

TEST(ExitStatusTest, AnExitHasACodeAndNoSignal) {
  const auto status = ExitStatus::exited_with(3);

  EXPECT_TRUE(status.exited());
  EXPECT_FALSE(status.signalled());
  EXPECT_TRUE(status.known());
  EXPECT_FALSE(status.success());
  EXPECT_EQ(status.code(), 3);
  EXPECT_EQ(status.signal(), 0);
  EXPECT_EQ(status.exitcode(), 3);
  EXPECT_EQ(status.describe(), "exited with code 3");
}

TEST(ExitStatusTest, OnlyExitCodeZeroIsSuccess) {
  EXPECT_TRUE(ExitStatus::exited_with(0).success());
  EXPECT_EQ(ExitStatus::exited_with(0).describe(), "exited with code 0");
  EXPECT_FALSE(ExitStatus::exited_with(255).success());
  EXPECT_FALSE(ExitStatus::killed_by(SIGTERM).success());
  EXPECT_FALSE(ExitStatus::unknown().success());
}

TEST(ExitStatusTest, ADeathHasASignalAndTheNegativeNumberOfPython) {
  const auto status = ExitStatus::killed_by(SIGKILL);

  EXPECT_TRUE(status.signalled());
  EXPECT_FALSE(status.exited());
  EXPECT_TRUE(status.known());
  EXPECT_EQ(status.signal(), SIGKILL);
  EXPECT_EQ(status.code(), 0);
  EXPECT_EQ(status.exitcode(), -9);
  EXPECT_EQ(status.describe(), "killed by SIGKILL (signal 9)");
}

TEST(ExitStatusTest, NamesEverySignal) {
  EXPECT_EQ(ExitStatus::killed_by(SIGTERM).describe(), "killed by SIGTERM (signal 15)");
  EXPECT_EQ(ExitStatus::killed_by(SIGSYS).describe(), "killed by SIGSYS (signal 31)");
  EXPECT_EQ(ExitStatus::killed_by(SIGRTMIN).describe(),
            "killed by SIGRTMIN+0 (signal " + std::to_string(SIGRTMIN) + ")");
  EXPECT_EQ(ExitStatus::killed_by(SIGRTMAX).describe(),
            "killed by SIGRTMIN+30 (signal " + std::to_string(SIGRTMAX) + ")");
  EXPECT_EQ(ExitStatus::killed_by(32).describe(), "killed by an unnamed signal (signal 32)");
}

TEST(ExitStatusTest, NobodyKnowsIs255AndNeitherExitNorSignal) {
  const auto status = ExitStatus::unknown();

  EXPECT_FALSE(status.known());
  EXPECT_FALSE(status.exited());
  EXPECT_FALSE(status.signalled());
  EXPECT_EQ(status.code(), 0);
  EXPECT_EQ(status.signal(), 0);
  EXPECT_EQ(status.exitcode(), 255);
  EXPECT_EQ(status.describe(), "ended, status unknown");
}

TEST(ExitStatusTest, EqualityIsTheOutcomeAlone) {
  const auto plain = ExitStatus::killed_by(SIGSEGV);
  const auto detailed = plain.with({4096, 5us, 6us}, true);

  EXPECT_EQ(plain, detailed);
  EXPECT_EQ(ExitStatus::unknown(), ExitStatus::unknown());
  EXPECT_NE(ExitStatus::exited_with(9), ExitStatus::killed_by(9));
  EXPECT_NE(ExitStatus::exited_with(0), ExitStatus::unknown());
  EXPECT_NE(ExitStatus::exited_with(255), ExitStatus::unknown());
  EXPECT_NE(ExitStatus::exited_with(1), ExitStatus::exited_with(2));
}

TEST(ExitStatusTest, CarriesWhatTheProcessUsedAndItsCoreDump) {
  const auto plain = ExitStatus::killed_by(SIGSEGV);

  const auto status = plain.with({4096, 5us, 6us}, true);

  EXPECT_EQ(status.max_rss(), 4096U);
  EXPECT_EQ(status.user_time(), 5us);
  EXPECT_EQ(status.system_time(), 6us);
  EXPECT_EQ(status.cpu_time(), 11us);
  EXPECT_TRUE(status.core_dumped());
  EXPECT_EQ(status.describe(), "killed by SIGSEGV (signal 11, core dumped)");
  EXPECT_EQ(plain.max_rss(), 0U);
  EXPECT_EQ(plain.cpu_time(), 0us);
  EXPECT_FALSE(plain.core_dumped());
}

}  // namespace
