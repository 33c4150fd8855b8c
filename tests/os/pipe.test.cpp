// SPDX-License-Identifier: MIT

#include <multiproc/os/pipe.hpp>

#include <array>
#include <cerrno>
#include <limits>
#include <string>

#include <gtest/gtest.h>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace multiproc::os;

TEST(PipeTest, CarriesBytesOneWayAndEndsWithItsWriter) {
  auto pipe = make_pipe().or_throw("pipe");
  std::array<std::byte, 8> buffer{};

  ASSERT_TRUE(write_all(pipe.write.get(), os_test::bytes_of("hello")));
  EXPECT_EQ(read_some(pipe.read.get(), buffer).value(), 5U);
  pipe.write.reset();

  EXPECT_EQ(std::memcmp(buffer.data(), "hello", 5), 0);
  EXPECT_EQ(read_some(pipe.read.get(), buffer).value(), 0U);
}

TEST(PipeTest, BothEndsAreCloseOnExecAndBlock) {
  const auto pipe = make_pipe().or_throw("pipe");

  for (const int end : {pipe.read.get(), pipe.write.get()}) {
    EXPECT_TRUE(os_test::is_close_on_exec(end));
    EXPECT_EQ(::fcntl(end, F_GETFL) & O_NONBLOCK, 0);
  }
}

TEST(PipeTest, ARefusalSaysWhichAndLeavesNothing) {
  os_test::expect_each_refusal("pipe2", {EMFILE, ENFILE, ENOMEM}, [] { return make_pipe(); });
}

TEST(PipeTest, KeepsClearOfClosedStandardStreamsWhicheverAreClosed) {
  for (int closed = 1; closed < 8; ++closed) {
    const auto result = support::in_child([closed] {
      const int out = ::fcntl(1, F_DUPFD, 100);
      for (int fd = 0; fd < 3; ++fd) {
        if ((closed & (1 << fd)) != 0) ::close(fd);
      }
      const auto pipe = make_pipe();
      const bool low_is_free = [closed] {
        for (int fd = 0; fd < 3; ++fd) {
          if (os_test::is_open(fd) != ((closed & (1 << fd)) == 0)) return false;
        }
        return true;
      }();
      ::dup2(out, 1);
      ASSERT_TRUE(pipe) << pipe.error();
      EXPECT_GT(pipe.value().read.get(), 2);
      EXPECT_GT(pipe.value().write.get(), 2);
      EXPECT_TRUE(low_is_free);
    });
    EXPECT_EQ(result.status, 0) << "closed: " << closed << "\n" << result.out;
  }
}

TEST(PipeTest, ARefusedMoveAboveTheStandardStreamsClosesBothEnds) {
  const auto result = support::in_child([] {
    ::close(0);
    ::close(2);  // so that both ends have to move
    os_test::expect_each_refusal("fcntl", {EMFILE, ENOMEM}, [] { return make_pipe(); });
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(PipeTest, AFullDescriptorTableIsEmfileWhateverRoomIsLeft) {
  for (unsigned spare = 0; spare < 2; ++spare) {
    const auto result = support::in_child([spare] {
      os_test::leave_room_for(spare);
      const auto made = make_pipe();
      rlimit limit{};
      ::getrlimit(RLIMIT_NOFILE, &limit);
      limit.rlim_cur = limit.rlim_max;
      ::setrlimit(RLIMIT_NOFILE, &limit);
      EXPECT_EQ(made.error(), EMFILE);
    });
    EXPECT_EQ(result.status, 0) << result.out;
  }
}

}  // namespace
