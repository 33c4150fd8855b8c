// SPDX-License-Identifier: MIT

#include <multiproc/os/fd.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <sstream>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/eventfd.h>

#include <gtest/gtest.h>

#include <multiproc/os/child.hpp>
#include <multiproc/os/launch.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/os/parent_watch.hpp>
#include <multiproc/os/pipe.hpp>
#include <multiproc/os/socket.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;
using os_test::bytes_of;
using os_test::is_open;

static_assert(!std::is_copy_constructible_v<Fd> && !std::is_copy_assignable_v<Fd>);
static_assert(std::is_nothrow_move_constructible_v<Fd> && std::is_nothrow_move_assignable_v<Fd>);

Fd open_null() {
  return Fd{::open("/dev/null", O_RDWR | O_CLOEXEC)};
}

// Whether two descriptors are the same open file: they share its status flags.
bool same_file(int a, int b) {
  ::fcntl(a, F_SETFL, O_APPEND);
  const bool first = (::fcntl(b, F_GETFL) & O_APPEND) != 0;
  ::fcntl(a, F_SETFL, 0);
  return first && (::fcntl(b, F_GETFL) & O_APPEND) == 0;
}

TEST(FdTest, OwnsNothingByDefault) {
  const Fd fd;

  EXPECT_FALSE(fd);
  EXPECT_EQ(fd.get(), -1);
}

TEST(FdTest, ClosesWhatItOwnsWhenItGoes) {
  int number = -1;
  {
    const Fd fd = open_null();
    number = fd.get();
    ASSERT_TRUE(is_open(number));
  }

  EXPECT_FALSE(is_open(number));
}

TEST(FdTest, MovesOwnershipAndLeavesNothingBehind) {
  Fd first = open_null();
  const int number = first.get();

  Fd second{std::move(first)};
  Fd third = open_null();
  const int overwritten = third.get();
  third = std::move(second);

  EXPECT_FALSE(first);   // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_FALSE(second);  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(third.get(), number);
  EXPECT_TRUE(is_open(number));
  EXPECT_FALSE(is_open(overwritten));
}

TEST(FdTest, SurvivesBeingMovedOntoItself) {
  Fd fd = open_null();
  const int number = fd.get();
  Fd& itself = fd;

  fd = std::move(itself);

  EXPECT_EQ(fd.get(), number);
  EXPECT_TRUE(is_open(number));
}

TEST(FdTest, ReleaseGivesUpOwnershipWithoutClosing) {
  Fd fd = open_null();

  const int number = fd.release();

  EXPECT_FALSE(fd);
  EXPECT_TRUE(is_open(number));
  ::close(number);
}

TEST(FdTest, ResetClosesTheOldOneAndOwnsTheNewOne) {
  Fd fd = open_null();
  const int old = fd.get();
  const int next = open_null().release();

  fd.reset(next);

  EXPECT_FALSE(is_open(old));
  EXPECT_EQ(fd.get(), next);
  fd.reset();
  EXPECT_FALSE(is_open(next));
  EXPECT_FALSE(fd);
}

TEST(FdTest, CleaningUpDoesNotHideTheErrorThatLedToIt) {
  Fd good = open_null();
  Fd bad{good.get()};  // closed twice: the second time is EBADF

  errno = ENOSPC;
  good.reset();
  EXPECT_EQ(errno, ENOSPC);
  bad.reset();

  EXPECT_EQ(errno, ENOSPC);
}

TEST(FdTest, ADuplicateIsTheSameFileCloseOnExecAndAboveTheStandardStreams) {
  const auto result = support::in_child([] {
    const Fd fd = open_null();
    ::close(0);
    ::close(2);

    const auto copy = fd.duplicate();

    ASSERT_TRUE(copy) << copy.error();
    EXPECT_GT(copy.value().get(), 2);
    EXPECT_NE(copy.value().get(), fd.get());
    EXPECT_TRUE(os_test::is_close_on_exec(copy.value().get()));
    EXPECT_TRUE(same_file(fd.get(), copy.value().get()));
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(FdTest, DuplicatingWhatIsNotOpenIsEbadf) {
  EXPECT_EQ(Fd{}.duplicate().error(), EBADF);
  EXPECT_EQ(duplicate_fd(-1).error(), EBADF);
  EXPECT_EQ(duplicate_fd(1'000'000).error(), EBADF);
}

TEST(FdTest, ADuplicateThatIsRefusedSaysWhyAndLeavesNothing) {
  const Fd fd = open_null();

  os_test::expect_each_refusal("fcntl", {EMFILE, ENFILE, ENOMEM}, [&] { return fd.duplicate(); });
  EXPECT_TRUE(is_open(fd.get()));
}

TEST(FdTest, AboveStdioLeavesHighNumbersAlone) {
  Fd fd = open_null();
  const int number = fd.get();

  const auto moved = above_stdio(std::move(fd));

  ASSERT_TRUE(moved);
  EXPECT_EQ(moved.value().get(), number);
  EXPECT_FALSE(above_stdio(Fd{}).value());
}

TEST(FdTest, AboveStdioMovesUpAndFreesTheLowNumber) {
  const auto result = support::in_child([] {
    ::close(0);
    Fd low = open_null();
    ASSERT_EQ(low.get(), 0);

    const auto moved = above_stdio(std::move(low));

    ASSERT_TRUE(moved) << moved.error();
    EXPECT_GT(moved.value().get(), 2);
    EXPECT_TRUE(os_test::is_close_on_exec(moved.value().get()));
    EXPECT_FALSE(is_open(0));
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(FdTest, AboveStdioThatIsRefusedClosesWhatItWasGiven) {
  const auto result = support::in_child([] {
    ::close(0);
    os_test::expect_each_refusal("fcntl", {EMFILE}, [] { return above_stdio(open_null()); });
    EXPECT_FALSE(is_open(0));
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST(FdTest, TakesOverAnInheritedDescriptorAndMakesItCloseOnExec) {
  const int inherited = ::open("/dev/null", O_RDWR);  // NOLINT(android-cloexec-open)
  ASSERT_FALSE(os_test::is_close_on_exec(inherited));

  const auto taken = take_inherited(inherited);

  ASSERT_TRUE(taken);
  EXPECT_EQ(taken.value().get(), inherited);
  EXPECT_TRUE(os_test::is_close_on_exec(inherited));
}

TEST(FdTest, TakingOverWhatIsNotOpenIsEbadf) {
  EXPECT_EQ(take_inherited(-1).error(), EBADF);
  EXPECT_EQ(take_inherited(1'000'000).error(), EBADF);
}

TEST(ReadSomeTest, ReadsWhatIsThereAndZeroAtTheEnd) {
  auto pipe = make_pipe().or_throw("pipe");
  ASSERT_EQ(::write(pipe.write.get(), "abc", 3), 3);
  std::array<std::byte, 16> buffer{};

  const auto first = read_some(pipe.read.get(), buffer);
  pipe.write.reset();
  const auto last = read_some(pipe.read.get(), buffer);

  EXPECT_EQ(first.value(), 3U);
  EXPECT_EQ(std::memcmp(buffer.data(), "abc", 3), 0);
  ASSERT_TRUE(last);
  EXPECT_EQ(last.value(), 0U);
}

TEST(ReadSomeTest, ReportsWhatReadRefuses) {
  std::array<std::byte, 16> buffer{};
  const Fd folder{::open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC)};

  EXPECT_EQ(read_some(-1, buffer).error(), EBADF);
  EXPECT_EQ(read_some(folder.get(), buffer).error(), EISDIR);
}

TEST(ReadSomeTest, AnEmptyNonBlockingPipeIsEagain) {
  const auto pipe = make_pipe().or_throw("pipe");
  ::fcntl(pipe.read.get(), F_SETFL, O_NONBLOCK);
  std::array<std::byte, 16> buffer{};

  EXPECT_EQ(read_some(pipe.read.get(), buffer).error(), EAGAIN);
}

TEST(ReadSomeTest, GoesOnAfterSignals) {
  auto pipe = make_pipe().or_throw("pipe");
  std::array<std::byte, 16> buffer{};
  const os_test::SignalStorm storm;
  std::thread writer{[&] {
    while (os_test::SignalStorm::signals() < 10) std::this_thread::yield();
    (void)!::write(pipe.write.get(), "x", 1);
  }};

  const auto got = read_some(pipe.read.get(), buffer);
  writer.join();

  ASSERT_TRUE(got) << got.error();
  EXPECT_EQ(got.value(), 1U);
}

TEST(ReadSomeTest, RepeatsAnInterruptedReadAndReportsOthers) {
  const Fd zero{::open("/dev/zero", O_RDONLY | O_CLOEXEC)};
  std::array<std::byte, 16> buffer{};

  os_test::expect_each_repeated("read", EINTR, [&] { return read_some(zero.get(), buffer); });
  os_test::expect_each_refusal("read", {EIO, ENOMEM}, [&] { return read_some(zero.get(), buffer); });
}

TEST(WriteAllTest, WritesMoreThanThePipeHoldsThroughAStormOfSignals) {
  auto pipe = make_pipe().or_throw("pipe");
  const std::string much(1 << 20, 'x');
  std::size_t arrived = 0;
  std::thread reader{[&] {
    std::array<std::byte, 4096> buffer{};
    for (;;) {
      const auto got = read_some(pipe.read.get(), buffer);
      if (!got || got.value() == 0) break;
      arrived += got.value();
      std::this_thread::sleep_for(50us);  // so that the writer has to wait
    }
  }};
  std::size_t written = 0;
  Result<> result;
  {
    const os_test::SignalStorm storm;
    result = write_all(pipe.write.get(), bytes_of(much), &written);
  }
  pipe.write.reset();
  reader.join();

  EXPECT_TRUE(result) << result.error();
  EXPECT_EQ(written, much.size());
  EXPECT_EQ(arrived, much.size());
  EXPECT_GT(os_test::SignalStorm::signals(), 0);
}

TEST(WriteAllTest, WaitsWhereSomebodyMadeTheDescriptorNonBlocking) {
  auto pipe = make_pipe().or_throw("pipe");
  ::fcntl(pipe.write.get(), F_SETFL, O_NONBLOCK);
  const std::string much(1 << 18, 'x');
  std::thread reader{[&] {
    std::array<std::byte, 4096> buffer{};
    while (read_some(pipe.read.get(), buffer).value() > 0) std::this_thread::sleep_for(100us);
  }};

  const auto result = write_all(pipe.write.get(), bytes_of(much));
  pipe.write.reset();
  reader.join();

  EXPECT_TRUE(result) << result.error();
}

TEST(WriteAllTest, SaysHowMuchWentOutBeforeTheFailure) {
  const std::string file = testing::TempDir() + "os_fd_test." + std::to_string(::getpid());
  const Fd target{::open(file.c_str(), O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0600)};
  ASSERT_EQ(::unlink(file.c_str()), 0);

  const auto result = support::in_child([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1000, 1000};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    std::size_t written = 77;

    const auto refused = write_all(target.get(), bytes_of(std::string(1500, 'x')), &written);

    EXPECT_EQ(refused.error(), EFBIG);
    EXPECT_EQ(written, 1000U);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(WriteAllTest, ReportsWhatWriteRefuses) {
  const Fd full{::open("/dev/full", O_WRONLY | O_CLOEXEC)};
  std::size_t written = 77;

  EXPECT_EQ(write_all(full.get(), bytes_of("x"), &written).error(), ENOSPC);
  EXPECT_EQ(written, 0U);
  EXPECT_EQ(write_all(-1, bytes_of("x")).error(), EBADF);
}

TEST(WriteAllTest, RepeatsAnInterruptedWriteAndReportsOthers) {
  const Fd null = open_null();

  os_test::expect_each_repeated("write", EINTR, [&] { return write_all(null.get(), bytes_of("x")); });
  os_test::expect_each_repeated("write", EAGAIN, [&] { return write_all(null.get(), bytes_of("x")); });
  os_test::expect_each_refusal("write", {ENOSPC, EIO}, [&] { return write_all(null.get(), bytes_of("x")); });
}

TEST(WriteAllTest, NoBytesAreNoCall) {
  EXPECT_TRUE(write_all(-1, {}));
}

TEST(WriteAllTest, RaisesSigpipeAsWriteDoesAndIsEpipeWhereThatIsIgnored) {
  const auto dies = support::in_child([] {
    ::signal(SIGPIPE, SIG_DFL);
    auto pipe = make_pipe().or_throw("pipe");
    pipe.read.reset();
    (void)write_all(pipe.write.get(), bytes_of("x"));
  });
  const auto hears = support::in_child([] {
    ::signal(SIGPIPE, SIG_IGN);
    auto pipe = make_pipe().or_throw("pipe");
    pipe.read.reset();
    EXPECT_EQ(write_all(pipe.write.get(), bytes_of("x")).error(), EPIPE);
  });

  EXPECT_EQ(dies.status, -SIGPIPE);
  EXPECT_EQ(hears.status, 0) << hears.out;
}

// One of each kind of descriptor that the os floor makes, held open at once.
struct OneOfEach {
  PipeEnds pipe = make_pipe().or_throw("pipe");
  std::array<Fd, 2> sockets = make_socket_pair().or_throw("sockets");
  Fd memory = make_memory("one of each", 4096).or_throw("memory");
  Fd folder = open_directory("/").or_throw("folder");
  Fd pidfd = open_pidfd(::getpid()).or_throw("pidfd");
  Fd duplicate = duplicate_fd(memory.get()).or_throw("duplicate");
  std::vector<Fd> received;
  Lifeline lifeline;
  Child forked;
  Child spawned;
  Child dead;  // its sentinel is a descriptor of its own kind

  OneOfEach() {
    const int sent[] = {memory.get(), folder.get()};
    send_fds(sockets[0].get(), sent, multiproc::Deadline::never()).or_throw("sending");
    received = receive_fds(sockets[1].get(), 2, multiproc::Deadline::never()).or_throw("receiving");
    std::thread{[this] { (void)lifeline.open().or_throw("lifeline"); }}.join();
    forked = fork_child({}, os_test::pause_for_ever).or_throw("fork");
    const char* const arguments[] = {"sleep", "1000", nullptr};
    spawned = spawn_child("/bin/sleep", const_cast<char* const*>(arguments), environ, {}, -1).or_throw("spawn");
    const pid_t gone = ::fork();
    if (gone == 0) ::_exit(0);
    ::waitpid(gone, nullptr, 0);
    dead = Child::adopt(gone, {}).or_throw("adopt");
  }
  ~OneOfEach() {
    forked.destroy();
    spawned.destroy();
  }
};

TEST(EveryDescriptorTest, IsCloseOnExecAndNoneOfTheStandardStreams) {
  const auto result = support::in_child([] {
    const int out = ::fcntl(1, F_DUPFD, 500);
    ::close(0);
    ::close(1);
    ::close(2);
    const auto before = os_test::descriptors();
    std::string found;
    std::size_t made = 0;
    try {
      const OneOfEach each;
      for (const auto& [fd, target] : os_test::descriptors()) {
        if (before.contains(fd)) continue;
        ++made;
        if (fd <= 2) found += "low: " + std::to_string(fd) + " " + target + "\n";
        if (!os_test::is_close_on_exec(fd)) found += "inherited: " + std::to_string(fd) + " " + target + "\n";
      }
    } catch (const std::exception& error) {
      found += error.what();
    }
    const auto after = os_test::descriptors();
    ::dup2(out, 1);
    EXPECT_EQ(found, "");
    EXPECT_EQ(made, 15U);
    EXPECT_EQ(after, before);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(EveryDescriptorTest, IsSeenByNoProgramThatIsExecuted) {
  const auto before = support::run_program(support::program("os_list_fds"));
  ASSERT_EQ(before.status, 0) << before.err;

  const OneOfEach each;
  const auto meanwhile = support::run_program(support::program("os_list_fds"));

  EXPECT_EQ(meanwhile.out, before.out);
  EXPECT_NE(before.out.find("0\n1\n2\n"), std::string::npos);
}

}  // namespace
