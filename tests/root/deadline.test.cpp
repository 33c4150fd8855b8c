// SPDX-License-Identifier: MIT

#include <multiproc/deadline.hpp>

#include <chrono>
#include <cstdint>
#include <ctime>
#include <limits>
#include <ratio>
#include <type_traits>

#include <gtest/gtest.h>

namespace {

using namespace std::chrono_literals;
using multiproc::Deadline;
using Clock = Deadline::Clock;

static_assert(std::is_convertible_v<std::chrono::milliseconds, Deadline>);
static_assert(std::is_convertible_v<std::chrono::duration<double>, Deadline>);
static_assert(std::is_convertible_v<Clock::time_point, Deadline>);
static_assert(!std::is_constructible_v<Deadline, std::chrono::system_clock::time_point>);
static_assert(!std::is_constructible_v<Deadline, int>);
static_assert(std::is_trivially_copyable_v<Deadline>);

std::chrono::nanoseconds as_duration(const std::timespec& time) {
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

template <class Duration>
void expect_from_now(Duration wanted, std::chrono::nanoseconds exact) {
  const auto before = Clock::now();
  const Deadline deadline{wanted};
  const auto after = Clock::now();
  EXPECT_GE(deadline.time_point(), before + exact);
  EXPECT_LE(deadline.time_point(), after + exact);
  EXPECT_FALSE(deadline.is_never());
}

TEST(DeadlineTest, CountsADurationFromNow) {
  expect_from_now(1ns, 1ns);
  expect_from_now(50ms, 50ms);
  expect_from_now(3h, 3h);
  expect_from_now(std::chrono::duration<unsigned, std::milli>{7}, 7ms);
  expect_from_now(std::chrono::duration<std::uint8_t, std::ratio<3600>>{255}, 255h);
  expect_from_now(std::chrono::duration<double>{0.25}, 250ms);
  expect_from_now(std::chrono::duration<float, std::milli>{0.5F}, 500us);
  expect_from_now(std::chrono::hours{24} * 365 * 250, std::chrono::hours{24} * 365 * 250);
}

TEST(DeadlineTest, LessThanTheClockCanTellIsNow) {
  const Deadline deadline{std::chrono::duration<long, std::pico>{999}};

  EXPECT_TRUE(deadline.passed());
  EXPECT_EQ(deadline.remaining(), 0ns);
}

TEST(DeadlineTest, ZeroAndLessMeanLookOnce) {
  const Deadline looks_once[] = {0ms,
                                 -1ns,
                                 -5h,
                                 std::chrono::nanoseconds::min(),
                                 std::chrono::hours::min(),
                                 std::chrono::duration<double>{0.0},
                                 std::chrono::duration<double>{-0.0},
                                 std::chrono::duration<double>{-1e300},
                                 std::chrono::duration<double>{-std::numeric_limits<double>::infinity()},
                                 Deadline::now()};
  for (const Deadline& deadline : looks_once) {
    EXPECT_TRUE(deadline.passed());
    EXPECT_FALSE(deadline.is_never());
    EXPECT_EQ(deadline.remaining(), 0ns);
    ASSERT_TRUE(deadline.as_monotonic().has_value());
    EXPECT_EQ(as_duration(*deadline.as_monotonic()), 0ns);
  }
}

TEST(DeadlineTest, NotANumberMeansLookOnceAndNotForEver) {
  const Deadline quiet{std::chrono::duration<double>{std::numeric_limits<double>::quiet_NaN()}};
  const Deadline in_float{std::chrono::duration<float, std::milli>{std::numeric_limits<float>::quiet_NaN()}};

  EXPECT_TRUE(quiet.passed());
  EXPECT_TRUE(in_float.passed());
  EXPECT_FALSE(quiet.is_never());
}

TEST(DeadlineTest, WhatLiesBeyondTheClockIsNever) {
  using Years = std::chrono::duration<double, std::ratio<31'556'952>>;
  const auto rest = Clock::time_point::max() - Clock::now();
  const Deadline beyond[] = {Deadline::never(),
                             std::chrono::nanoseconds::max(),
                             std::chrono::seconds::max(),
                             std::chrono::hours::max(),
                             rest + 1s,
                             std::chrono::duration<std::uint64_t>{std::numeric_limits<std::uint64_t>::max()},
                             std::chrono::duration<double>{std::numeric_limits<double>::infinity()},
                             std::chrono::duration<float>{std::numeric_limits<float>::max()},
                             std::chrono::duration<double>{1e300},
                             std::chrono::duration<long double>{std::numeric_limits<long double>::max()},
                             Years{293},
                             Clock::time_point::max()};
  for (const Deadline& deadline : beyond) {
    EXPECT_TRUE(deadline.is_never());
    EXPECT_FALSE(deadline.passed());
    EXPECT_EQ(deadline.remaining(), std::chrono::nanoseconds::max());
    EXPECT_FALSE(deadline.as_monotonic().has_value());
  }
}

TEST(DeadlineTest, JustInsideTheClocksRangeIsAPointOfTime) {
  const Deadline deadline{Clock::time_point::max() - Clock::now() - 10s};

  EXPECT_FALSE(deadline.is_never());
  EXPECT_FALSE(deadline.passed());
  EXPECT_GT(deadline.remaining(), 24h * 365 * 290);
  ASSERT_TRUE(deadline.as_monotonic().has_value());
  EXPECT_GT(deadline.as_monotonic()->tv_sec, 0);
}

TEST(DeadlineTest, KeepsATimePointExactly) {
  const Clock::time_point at{12'345'678'901ns};

  const Deadline deadline{at};

  EXPECT_EQ(deadline.time_point(), at);
  ASSERT_TRUE(deadline.as_monotonic().has_value());
  EXPECT_EQ(deadline.as_monotonic()->tv_sec, 12);
  EXPECT_EQ(deadline.as_monotonic()->tv_nsec, 345'678'901);
}

TEST(DeadlineTest, ATimePointBeforeTheClocksZeroIsPassedAndNothingTheKernelRefuses) {
  const Deadline deadline{Clock::time_point{-1ns}};

  EXPECT_TRUE(deadline.passed());
  EXPECT_EQ(deadline.remaining(), 0ns);
  ASSERT_TRUE(deadline.as_monotonic().has_value());
  EXPECT_EQ(deadline.as_monotonic()->tv_sec, 0);
  EXPECT_EQ(deadline.as_monotonic()->tv_nsec, 0);
}

TEST(DeadlineTest, SpeaksOfTheSameClockAsTheKernelsMonotonicOne) {
  std::timespec before{};
  std::timespec after{};

  ASSERT_EQ(::clock_gettime(CLOCK_MONOTONIC, &before), 0);
  const auto ours = Deadline{Clock::now()}.as_monotonic();
  ASSERT_EQ(::clock_gettime(CLOCK_MONOTONIC, &after), 0);

  ASSERT_TRUE(ours.has_value());
  EXPECT_LE(as_duration(before), as_duration(*ours));
  EXPECT_LE(as_duration(*ours), as_duration(after));
}

TEST(DeadlineTest, PassesOnceItsTimeHasCome) {
  const Deadline deadline{2ms};
  EXPECT_LE(deadline.remaining(), 2ms);

  while (!deadline.passed()) {
  }

  EXPECT_GE(Clock::now(), deadline.time_point());
  EXPECT_EQ(deadline.remaining(), 0ns);
}

TEST(DeadlineTest, EarlierPicksTheSmallerInEitherOrder) {
  const Deadline soon{1h};
  const Deadline late{2h};

  EXPECT_EQ(Deadline::earlier(soon, late).time_point(), soon.time_point());
  EXPECT_EQ(Deadline::earlier(late, soon).time_point(), soon.time_point());
  EXPECT_EQ(Deadline::earlier(soon, Deadline::never()).time_point(), soon.time_point());
  EXPECT_EQ(Deadline::earlier(Deadline::now(), soon).time_point(), Deadline::now().time_point());
  EXPECT_TRUE(Deadline::earlier(Deadline::never(), Deadline::never()).is_never());
}

}  // namespace
