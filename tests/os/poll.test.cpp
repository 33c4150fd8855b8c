// SPDX-License-Identifier: MIT

#include <multiproc/os/poll.hpp>

#include <cerrno>
#include <chrono>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include <multiproc/os/pipe.hpp>
#include <multiproc/os/socket.hpp>

#include "os/os_test.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;
using multiproc::Deadline;
using Clock = std::chrono::steady_clock;

void put_a_byte(const Fd& fd) {
  ASSERT_EQ(::write(fd.get(), "x", 1), 1);
}

TEST(WaitReadableTest, IsTrueWhenThereIsSomethingOrTheEnd) {
  auto pipe = make_pipe().or_throw("pipe");

  put_a_byte(pipe.write);
  EXPECT_TRUE(wait_readable(pipe.read.get(), Deadline::now()).value());
  std::byte one{};
  ASSERT_EQ(read_some(pipe.read.get(), {&one, 1}).value(), 1U);
  EXPECT_FALSE(wait_readable(pipe.read.get(), Deadline::now()).value());
  pipe.write.reset();

  EXPECT_TRUE(wait_readable(pipe.read.get(), Deadline::never()).value());
}

TEST(WaitWritableTest, IsTrueWhileThereIsRoomOrNobodyReads) {
  auto pipe = make_pipe().or_throw("pipe");
  EXPECT_TRUE(wait_writable(pipe.write.get(), Deadline::never()).value());

  ::fcntl(pipe.write.get(), F_SETFL, O_NONBLOCK);
  const std::vector<char> much(1 << 17);
  while (::write(pipe.write.get(), much.data(), much.size()) > 0) {
  }
  EXPECT_FALSE(wait_writable(pipe.write.get(), Deadline::now()).value());
  pipe.read.reset();

  EXPECT_TRUE(wait_writable(pipe.write.get(), Deadline::never()).value());
}

TEST(WaitReadableTest, ABadDescriptorIsEbadf) {
  EXPECT_EQ(wait_readable(1'000'000, Deadline::never()).error(), EBADF);
  EXPECT_EQ(wait_writable(1'000'000, Deadline::never()).error(), EBADF);
}

TEST(WaitReadableTest, NoDescriptorAtAllIsAWaitForTheDeadline) {
  const auto began = Clock::now();

  const auto ready = wait_readable(-1, 20ms);

  ASSERT_TRUE(ready);
  EXPECT_FALSE(ready.value());
  EXPECT_GE(Clock::now() - began, 20ms);
}

TEST(WaitReadableTest, EndsNotEarlyAndNotNeverUnderAStormOfSignals) {
  const auto pipe = make_pipe().or_throw("pipe");
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  const auto ready = wait_readable(pipe.read.get(), 60ms);

  EXPECT_GE(Clock::now() - began, 60ms);
  ASSERT_TRUE(ready) << ready.error();
  EXPECT_FALSE(ready.value());
  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST(WaitReadableTest, SleepsInNanosecondsAndNotInMilliseconds) {
  const auto pipe = make_pipe().or_throw("pipe");

  for (int i = 0; i < 100; ++i) {
    const auto began = Clock::now();
    ASSERT_FALSE(wait_readable(pipe.read.get(), 1500us).value());
    EXPECT_GE(Clock::now() - began, 1500us);
  }
}

TEST(WaitReadableTest, WakesWhenTheByteComes) {
  auto pipe = make_pipe().or_throw("pipe");
  const os_test::PlainChild writer{[&] { (void)!::write(pipe.write.get(), "x", 1); }};

  EXPECT_TRUE(wait_readable(pipe.read.get(), Deadline::never()).value());
}

TEST(WaitReadableTest, RepeatsWhatASignalInterruptedAndReportsOthers) {
  auto pipe = make_pipe().or_throw("pipe");
  put_a_byte(pipe.write);

  os_test::expect_each_repeated("poll", EINTR, [&] { return wait_readable(pipe.read.get(), 1s); });
  os_test::expect_each_refusal("poll", {ENOMEM, EINVAL}, [&] { return wait_readable(pipe.read.get(), 1s); });
}

TEST(PollAllTest, MarksWhatIsReadyAndWhatIsBrokenAndCountsThem) {
  const auto silent = make_pipe().or_throw("pipe");
  auto speaking = make_pipe().or_throw("pipe");
  auto ended = make_pipe().or_throw("pipe");
  put_a_byte(speaking.write);
  ended.write.reset();
  PollItem items[] = {{silent.read.get()}, {speaking.read.get()}, {ended.read.get()}, {1'000'000}, {-1}};

  const auto count = poll_all(items, Deadline::never());

  ASSERT_TRUE(count);
  EXPECT_EQ(count.value(), 3U);
  EXPECT_FALSE(items[0].ready || items[0].broken);
  EXPECT_TRUE(items[1].ready && !items[1].broken);
  EXPECT_TRUE(items[2].ready && !items[2].broken);
  EXPECT_TRUE(!items[3].ready && items[3].broken);
  EXPECT_FALSE(items[4].ready || items[4].broken) << "no descriptor is skipped";
}

TEST(PollAllTest, ForgetsWhatWasSetBefore) {
  const auto silent = make_pipe().or_throw("pipe");
  PollItem items[] = {{silent.read.get(), true, false, true, true}};

  EXPECT_EQ(poll_all(items, Deadline::now()).value(), 0U);

  EXPECT_FALSE(items[0].ready || items[0].broken);
}

TEST(PollAllTest, WaitsForWhatIsWantedAlone) {
  const auto pair = make_socket_pair().or_throw("sockets");
  PollItem items[] = {{pair[0].get(), true, false}, {pair[0].get(), false, true}, {pair[0].get(), false, false}};

  EXPECT_EQ(poll_all(items, Deadline::never()).value(), 1U);

  EXPECT_FALSE(items[0].ready);
  EXPECT_TRUE(items[1].ready);
  EXPECT_FALSE(items[2].ready);
}

TEST(PollAllTest, SeesThatThePeerIsGoneWhateverIsWanted) {
  auto pair = make_socket_pair().or_throw("sockets");
  pair[1].reset();
  PollItem items[] = {{pair[0].get(), true, false}, {pair[0].get(), false, false}};

  EXPECT_EQ(poll_all(items, Deadline::never()).value(), 2U);

  EXPECT_TRUE(items[0].ready);
  EXPECT_TRUE(items[1].ready);
}

TEST(PollAllTest, TakesAnyNumberOfItems) {
  auto pipe = make_pipe().or_throw("pipe");
  for (const std::size_t count : {std::size_t{63}, std::size_t{64}, std::size_t{65}, std::size_t{5000}}) {
    std::vector<PollItem> items(count, PollItem{-1});
    items.back() = PollItem{pipe.read.get()};

    EXPECT_EQ(poll_all(items, Deadline::now()).value(), 0U);
    put_a_byte(pipe.write);
    EXPECT_EQ(poll_all(items, Deadline::never()).value(), 1U);
    EXPECT_TRUE(items.back().ready);
    std::byte one{};
    ASSERT_EQ(read_some(pipe.read.get(), {&one, 1}).value(), 1U);
  }
}

TEST(PollAllTest, NoItemsAreAWaitForTheDeadline) {
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  const auto count = poll_all({}, 30ms);

  EXPECT_GE(Clock::now() - began, 30ms);
  ASSERT_TRUE(count);
  EXPECT_EQ(count.value(), 0U);
}

TEST(PollAllTest, ADeadlineInTheFarFutureIsNoErrorOfTheKernel) {
  auto pipe = make_pipe().or_throw("pipe");
  put_a_byte(pipe.write);
  PollItem items[] = {{pipe.read.get()}};

  EXPECT_EQ(poll_all(items, Clock::time_point::max() - 1ns).value(), 1U);
}

}  // namespace
