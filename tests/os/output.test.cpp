// SPDX-License-Identifier: MIT

#include <multiproc/os/output.hpp>

#include <cerrno>

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
  EXPECT_EQ(os_test::read_from(order.value().read.get()), "pc");
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
