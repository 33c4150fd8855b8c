// SPDX-License-Identifier: MIT

#include <multiproc/os/streams.hpp>

#include <array>
#include <cstdio>
#include <cwchar>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/pipe.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace multiproc::os;

using Stream = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;

// A stream that writes to a pipe, and what has arrived there.
class Written {
 public:
  Written() { ::fcntl(pipe_.read.get(), F_SETFL, O_NONBLOCK); }
  std::FILE* stream() const { return stream_.get(); }
  std::string arrived() const {
    std::array<char, 256> buffer{};
    const ssize_t got = ::read(pipe_.read.get(), buffer.data(), buffer.size());
    return got > 0 ? std::string(buffer.data(), static_cast<std::size_t>(got)) : "";
  }

 private:
  PipeEnds pipe_ = make_pipe().or_throw("pipe");
  Stream stream_{::fdopen(pipe_.write.release(), "w"), &std::fclose};
};

TEST(FlushStreamsTest, BringsOutWhatEveryStreamHolds) {
  const Written first;
  const Written second;
  std::fputs("first", first.stream());
  std::fputs("second", second.stream());
  ASSERT_EQ(first.arrived(), "");

  flush_streams();

  EXPECT_EQ(first.arrived(), "first");
  EXPECT_EQ(second.arrived(), "second");
}

TEST(FlushStreamsTest, BringsOutTheStandardStreamsOfAProcessThatEndsAbruptly) {
  const auto result = support::in_child([] {
    static char buffer[512];
    std::setvbuf(stderr, buffer, _IOFBF, sizeof buffer);
    std::fputs("out", stdout);
    std::fputs("err", stderr);
    flush_streams();
    ::_exit(0);
  });

  EXPECT_EQ(result.out, "out");
  EXPECT_EQ(result.err, "err");
}

TEST(FlushStreamsTest, BringsOutWideStreams) {
  const Written wide;
  ASSERT_GT(std::fwide(wide.stream(), 1), 0);
  std::fputws(L"wide", wide.stream());

  flush_streams();

  EXPECT_EQ(wide.arrived(), "wide");
}

TEST(FlushStreamsTest, BringsOutNothingTwice) {
  const Written written;
  std::fputs("once", written.stream());

  flush_streams();
  flush_streams();

  EXPECT_EQ(written.arrived(), "once");
}

TEST(FlushStreamsTest, DoesNotMoveThePositionOfAnInputStream) {
  const Stream in{std::tmpfile(), &std::fclose};
  std::fputs("some lines that are read ahead", in.get());
  std::rewind(in.get());
  ASSERT_EQ(std::fgetc(in.get()), 's');
  const off_t ahead = ::lseek(::fileno(in.get()), 0, SEEK_CUR);
  ASSERT_GT(ahead, 1);

  flush_streams();

  EXPECT_EQ(::lseek(::fileno(in.get()), 0, SEEK_CUR), ahead);
  EXPECT_EQ(std::fgetc(in.get()), 'o');
}

TEST(FlushStreamsTest, LeavesAStreamThatAnotherThreadHoldsToThatThread) {
  const Written held;
  const Written free;
  std::fputs("held", held.stream());
  std::fputs("free", free.stream());
  std::mutex leave;
  leave.lock();
  std::atomic<bool> has_it{false};
  std::thread holder{[&] {
    ::flockfile(held.stream());
    has_it = true;
    has_it.notify_one();
    const std::lock_guard wait{leave};
    ::funlockfile(held.stream());
  }};
  has_it.wait(false);

  flush_streams();
  EXPECT_EQ(free.arrived(), "free");
  EXPECT_EQ(held.arrived(), "");

  leave.unlock();
  holder.join();
  flush_streams();
  EXPECT_EQ(held.arrived(), "held");
}

TEST(FlushStreamsTest, AThreadThatReadsForEverDoesNotHoldItUp) {
  auto input = make_pipe().or_throw("pipe");
  const Stream in{::fdopen(input.read.release(), "r"), &std::fclose};
  const Written out;
  std::atomic<bool> reading{false};
  std::thread reader{[&] {
    reading = true;
    (void)std::fgetc(in.get());
  }};
  while (!reading || ::ftrylockfile(in.get()) == 0) {
    if (reading) ::funlockfile(in.get());
    std::this_thread::yield();
  }
  std::fputs("out", out.stream());

  flush_streams();

  EXPECT_EQ(out.arrived(), "out");
  input.write.reset();
  reader.join();
}

TEST(FlushStreamsTest, AStreamThatCantBeWrittenIsNoObstacleForTheOthers) {
  Stream full{std::fopen("/dev/full", "we"), &std::fclose};
  const Written out;
  std::fputs("lost", full.get());
  std::fputs("out", out.stream());

  flush_streams();

  EXPECT_EQ(out.arrived(), "out");
}

TEST(FlushStreamsTest, TheLockIsOursAgainAndAgain) {
  const Written written;
  std::thread{[] {}}.join();  // from now on stdio locks
  for (int i = 0; i < 3; ++i) {
    std::fputs("x", written.stream());
    flush_streams();
  }
  std::thread{[&] {
    std::fputs("y", written.stream());
    flush_streams();
  }}.join();

  EXPECT_EQ(written.arrived(), "xxxy");
}

TEST(DiscardStreamsTest, ForgetsWhatIsTheParentsToBringOut) {
  const Written written;
  std::fputs("parent's", written.stream());

  os_test::PlainChild child{[&] {
    discard_streams();
    std::fputs("child's", written.stream());
    flush_streams();
  }};
  EXPECT_EQ(child.wait(), 0);

  EXPECT_EQ(written.arrived(), "child's");
  flush_streams();
  EXPECT_EQ(written.arrived(), "parent's");
}

TEST(DiscardStreamsTest, AForkedChildIsReadyEvenIfAnotherThreadHeldAStream) {
  const Written held;
  std::atomic<bool> over{false};
  std::thread writer{[&] {
    while (!over) {
      ::flockfile(held.stream());
      std::this_thread::yield();
      ::funlockfile(held.stream());
    }
  }};

  for (int i = 0; i < 100; ++i) {
    os_test::PlainChild child{[] {
      discard_streams();
      flush_streams();
    }};
    EXPECT_EQ(child.wait(), 0);
  }
  over = true;
  writer.join();
}

}  // namespace
