// SPDX-License-Identifier: MIT

#include <multiproc/os/output.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/pipe.hpp>

#include "os/os_test.hpp"

namespace {

using multiproc::os::RecordLock;
using multiproc::os::target_of;
using os_test::Refusing;

std::string read_from(int fd) {
  std::array<char, 256> buffer;
  const auto got = ::read(fd, buffer.data(), buffer.size());
  return {buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(got, 0))};
}

TEST(OutputTest, PartsGoOutInTheirOrderAndEmptyOnesDoNotCount) {
  const auto pipe = multiproc::os::make_pipe();
  constexpr std::array<std::string_view, 4> kParts{"a", "", "bc", "d"};
  std::size_t written = 0;

  EXPECT_TRUE(multiproc::os::write_quietly(pipe.value().write.get(), kParts, written));

  EXPECT_EQ(written, 4U);
  EXPECT_EQ(read_from(pipe.value().read.get()), "abcd");
}

TEST(OutputTest, SignalsAndAFullPipeAreNoFailures) {
  const auto pipe = multiproc::os::make_pipe();
  std::size_t written = 0;
  for (const char* call : {"write", "writev"}) {
    for (const int error : {EINTR, EAGAIN}) {
      const Refusing refusing(call, error, 1, 2);
      EXPECT_TRUE(multiproc::os::write_line(pipe.value().write.get(), "x", written)) << call << ' ' << error;
      EXPECT_EQ(written, 1U);
      EXPECT_EQ(read_from(pipe.value().read.get()), "x");
    }
  }
}

TEST(OutputTest, AFailureSaysWhatWentOut) {
  const auto pipe = multiproc::os::make_pipe();
  std::size_t written = 7;
  const Refusing refusing("write", EIO);

  const auto result = multiproc::os::write_line(pipe.value().write.get(), "x", written);

  EXPECT_EQ(result.error(), EIO);
  EXPECT_STREQ(result.failure().call, "write");
  EXPECT_EQ(written, 0U);
}

TEST(OutputTest, WhereTheHandlerOfSigpipeIsUnknownItIsHeldBack) {
  const auto pipe = multiproc::os::make_pipe();
  std::size_t written = 0;
  const Refusing refusing("sigaction", EPERM, 1, 1000);

  for (int i = 0; i < 100'000 && multiproc::os::fault::seen("sigaction") == 0; ++i) {
    EXPECT_TRUE(multiproc::os::write_line(pipe.value().write.get(), "x", written));
    EXPECT_EQ(read_from(pipe.value().read.get()), "x");
  }

  EXPECT_GT(multiproc::os::fault::seen("sigaction"), 0);
}

TEST(OutputTest, DescriptorsOfOneTargetAreTheSameAndOthersAreNot) {
  const auto pipe = multiproc::os::make_pipe();
  const auto other = multiproc::os::make_pipe();
  const int null = ::open("/dev/null", O_WRONLY | O_CLOEXEC);

  const auto target = target_of(pipe.value().write.get());
  EXPECT_TRUE(target.value().same_as(target_of(pipe.value().read.get()).value()));
  EXPECT_TRUE(target.value().same_as(target_of(::getpid(), pipe.value().write.get()).value()));
  EXPECT_FALSE(target.value().same_as(target_of(other.value().write.get()).value()));
  EXPECT_TRUE(target.value().needs_turns);
  EXPECT_FALSE(target_of(null).value().needs_turns);
  ::close(null);
  EXPECT_EQ(target_of(null).error(), EBADF);
  EXPECT_EQ(target_of(::getpid(), null).error(), ENOENT);
}

TEST(OutputTest, ARecordLockKeepsOtherProcessesOutUntilItIsReleased) {
  const auto pipe = multiproc::os::make_pipe();
  const auto order = multiproc::os::make_pipe();
  RecordLock lock;
  EXPECT_TRUE(lock.take(pipe.value().write.get()));

  const pid_t child = ::fork();
  if (child == 0) {
    RecordLock mine;
    const bool taken = mine.take(pipe.value().write.get()).ok();
    ::_exit(taken && ::write(order.value().write.get(), "c", 1) == 1 ? 0 : 1);
  }
  EXPECT_EQ(::write(order.value().write.get(), "p", 1), 1);
  lock.release();

  int status = -1;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(read_from(order.value().read.get()), "pc");
}

TEST(OutputTest, AFalseAlarmOfADeadlockIsAskedAgain) {
  const auto pipe = multiproc::os::make_pipe();
  const Refusing refusing("fcntl", EDEADLK, 1, 3);
  RecordLock lock;

  EXPECT_TRUE(lock.take(pipe.value().write.get()));

  EXPECT_EQ(multiproc::os::fault::seen("fcntl"), 4);
}

TEST(OutputTest, WhereThereAreNoLocksItSaysSo) {
  const auto pipe = multiproc::os::make_pipe();
  RecordLock lock;

  EXPECT_EQ(lock.take(pipe.value().read.get()).error(), EBADF);  // not open for writing
}

}  // namespace
