// SPDX-License-Identifier: MIT

#include <multiproc/os/quiet_write.hpp>

#include <array>
#include <cerrno>
#include <csignal>
#include <memory>
#include <string_view>

#include <pthread.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/pipe.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using multiproc::os::write_quietly;
using os_test::Refusing;

TEST(QuietWriteTest, PartsGoOutInTheirOrderAndEmptyOnesDoNotCount) {
  const auto pipe = multiproc::os::make_pipe();
  constexpr std::array<std::string_view, 4> kParts{"a", "", "bc", "d"};
  std::size_t written = 0;

  EXPECT_TRUE(write_quietly(pipe.value().write.get(), kParts, written));

  EXPECT_EQ(written, 4U);
  EXPECT_EQ(os_test::read_from(pipe.value().read.get()), "abcd");
}

// As in a program without main_guard(), which asks for the bare write.
struct NotExempt {
  const Refusing refusing{"sigaction", EINVAL, 1, 1'000'000};
};

// A kernel that knows no RWF_NOSIGNAL: then the signal is held back. What this process learns of its kernel it learns
// once, so that tests which refuse the call do so in a child.
struct OldKernel {
  const Refusing refusing{"pwritev2", EOPNOTSUPP, 1, 1'000'000};
};

template <class Body>
void by_both_ways(Body body) {
  for (const bool is_old : {false, true}) {
    SCOPED_TRACE(is_old ? "the signal held back" : "as this kernel does it");
    const auto result = support::in_child([&] {
      const NotExempt careful;
      const auto old = is_old ? std::make_unique<OldKernel>() : nullptr;
      body();
    });
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }
}

TEST(QuietWriteTest, SignalsAndAFullPipeAreNoFailures) {
  const auto pipe = multiproc::os::make_pipe();
  std::size_t written = 0;
  for (const int error : {EINTR, EAGAIN}) {
    const Refusing refusing("pwritev2", error, 1, 2);
    const Refusing refusing_old("writev", error, 1, 2);
    const Refusing refusing_exempt("write", error, 1, 2);
    EXPECT_TRUE(write_quietly(pipe.value().write.get(), "x", written)) << error;
    EXPECT_EQ(written, 1U);
    EXPECT_EQ(os_test::read_from(pipe.value().read.get()), "x");
  }
}

TEST(QuietWriteTest, AFailureSaysWhatWentOut) {
  const auto pipe = multiproc::os::make_pipe();
  std::size_t written = 7;
  const Refusing refusing("pwritev2", EIO);
  const Refusing refusing_old("writev", EIO);
  const Refusing refusing_exempt("write", EIO);

  const auto result = write_quietly(pipe.value().write.get(), "x", written);

  EXPECT_EQ(result.error(), EIO);
  EXPECT_STREQ(result.failure().call, "write");
  EXPECT_EQ(written, 0U);
}

TEST(QuietWriteTest, AnOldKernelWritesTheSame) {
  by_both_ways([] {
    const auto pipe = multiproc::os::make_pipe();
    constexpr std::array<std::string_view, 2> kParts{"b", "c"};
    std::size_t written = 0;
    EXPECT_TRUE(write_quietly(pipe.value().write.get(), "a", written));
    EXPECT_TRUE(write_quietly(pipe.value().write.get(), kParts, written));
    EXPECT_EQ(os_test::read_from(pipe.value().read.get()), "abc");
  });
}

TEST(QuietWriteTest, OnlyWhereTheKernelDoesNotKnowTheFlagIsItNotAskedAgain) {
  const auto result = support::in_child([] {
    const auto pipe = multiproc::os::make_pipe();
    std::size_t written = 0;
    const NotExempt careful;
    const Refusing refusing("pwritev2", EOPNOTSUPP, 1, 2);  // the write, and the question whether it is the kernel

    for (int i = 0; i < 5; ++i) EXPECT_TRUE(write_quietly(pipe.value().write.get(), "x", written));

    EXPECT_EQ(multiproc::os::fault::seen("pwritev2"), 2);
    EXPECT_EQ(os_test::read_from(pipe.value().read.get()), "xxxxx");
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

bool is_sigpipe_pending() {
  sigset_t pending;
  ::sigpending(&pending);
  return ::sigismember(&pending, SIGPIPE) == 1;
}

void block_sigpipe(int how) {
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGPIPE);
  ::pthread_sigmask(how, &only, nullptr);
}

TEST(QuietWriteTest, ABrokenPipeIsAnErrorWhateverTheProgramDoesWithTheSignal) {
  by_both_ways([] {
    auto pipe = multiproc::os::make_pipe();
    const int fd = pipe.value().write.get();
    std::size_t written = 0;
    EXPECT_TRUE(write_quietly(fd, "x", written));
    pipe.value().read.reset();
    for (int i = 0; i < 200; ++i) {
      std::signal(SIGPIPE, SIG_IGN);
      EXPECT_EQ(write_quietly(fd, "x", written).error(), EPIPE);
      std::signal(SIGPIPE, SIG_DFL);
      EXPECT_EQ(write_quietly(fd, "x", written).error(), EPIPE);
    }
    EXPECT_EQ(std::signal(SIGPIPE, SIG_DFL), SIG_DFL);
    EXPECT_FALSE(is_sigpipe_pending());
  });
}

TEST(QuietWriteTest, ABrokenSocketTooIsAnErrorAndNoSignal) {
  by_both_ways([] {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    ::close(ends[1]);
    std::signal(SIGPIPE, SIG_DFL);
    std::size_t written = 0;
    EXPECT_EQ(write_quietly(ends[0], "x", written).error(), EPIPE);
    ::close(ends[0]);
  });
}

TEST(QuietWriteTest, ASignalOfTheProgramsOwnStaysPending) {
  by_both_ways([] {
    auto pipe = multiproc::os::make_pipe();
    pipe.value().read.reset();
    block_sigpipe(SIG_BLOCK);
    ::raise(SIGPIPE);
    std::size_t written = 0;
    EXPECT_EQ(write_quietly(pipe.value().write.get(), "x", written).error(), EPIPE);
    EXPECT_TRUE(is_sigpipe_pending());
  });
}

TEST(QuietWriteTest, WhereTheDefaultIsLeftToUsABareWriteIsAnErrorToo) {
  const auto result = support::in_child([] {
    std::signal(SIGPIPE, SIG_DFL);
    multiproc::os::exempt_from_sigpipe();
    auto pipe = multiproc::os::make_pipe();
    pipe.value().read.reset();
    std::size_t written = 0;
    for (const int how : {SIG_UNBLOCK, SIG_BLOCK}) {
      block_sigpipe(how);
      EXPECT_EQ(write_quietly(pipe.value().write.get(), "x", written).error(), EPIPE);
      EXPECT_FALSE(is_sigpipe_pending());
    }
    ::raise(SIGPIPE);
    EXPECT_EQ(write_quietly(pipe.value().write.get(), "x", written).error(), EPIPE);
    EXPECT_TRUE(is_sigpipe_pending()) << "the program's own";
    block_sigpipe(SIG_UNBLOCK);
  });
  EXPECT_EQ(result.status, -SIGPIPE) << "the default of everybody else; " << result.out << result.err;
}

TEST(QuietWriteTest, ADispositionThatTheProgramChoseStands) {
  const auto result = support::in_child([] {
    static volatile std::sig_atomic_t arrived = 0;
    std::signal(SIGPIPE, [](int) { arrived = arrived + 1; });
    multiproc::os::exempt_from_sigpipe();
    auto pipe = multiproc::os::make_pipe();
    pipe.value().read.reset();
    std::size_t written = 0;
    EXPECT_EQ(write_quietly(pipe.value().write.get(), "x", written).error(), EPIPE);
    EXPECT_EQ(arrived, 0);
    ::raise(SIGPIPE);
    EXPECT_EQ(arrived, 1);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(QuietWriteTest, ASignalThatIsSentWhileItIsHeldBackComesAfterwards) {
  static volatile std::sig_atomic_t arrived = 0;
  const auto result = support::in_child([] {
    std::signal(SIGPIPE, [](int) { arrived = arrived + 1; });
    const pid_t self = ::getpid();
    {
      const multiproc::os::BrokenPipeSignalHeld held;
      const pid_t sender = ::fork();
      if (sender == 0) ::_exit(::kill(self, SIGPIPE));
      ::waitpid(sender, nullptr, 0);
      held.take_away();
      EXPECT_TRUE(is_sigpipe_pending());
      EXPECT_EQ(arrived, 0);
    }
    EXPECT_EQ(arrived, 1);
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
