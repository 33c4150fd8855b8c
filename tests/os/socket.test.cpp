// SPDX-License-Identifier: MIT

#include <multiproc/os/socket.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/pipe.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;
using multiproc::Deadline;
using os_test::bytes_of;
using Clock = std::chrono::steady_clock;

class SocketTest : public testing::Test {
 protected:
  std::array<Fd, 2> pair_ = make_socket_pair().or_throw("sockets");
  int here() const { return pair_[0].get(); }
  int there() const { return pair_[1].get(); }

  // Puts bytes into the socket until the kernel takes no more; returns how many.
  std::size_t fill() {
    const std::vector<std::byte> much(1 << 16);
    std::size_t total = 0;
    for (;;) {
      const ssize_t sent = ::send(here(), much.data(), much.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (sent <= 0) return total;
      total += static_cast<std::size_t>(sent);
    }
  }
};

// Until the process or thread sleeps in the kernel: it waits for us.
void wait_until_asleep(pid_t id) {
  for (;;) {
    std::string text;
    std::getline(std::ifstream("/proc/" + std::to_string(id) + "/stat"), text);
    const auto end_of_name = text.rfind(')');
    if (end_of_name == std::string::npos || text[end_of_name + 2] != 'R') return;
    std::this_thread::yield();
  }
}

std::vector<std::byte> pattern(std::size_t size) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i * 31 + i / 251);
  return bytes;
}

TEST_F(SocketTest, CarriesBytesBothWays) {
  std::array<std::byte, 5> buffer{};

  ASSERT_TRUE(send_all(here(), bytes_of("there"), Deadline::now()));
  ASSERT_TRUE(receive_all(there(), buffer, Deadline::now()));
  EXPECT_EQ(std::memcmp(buffer.data(), "there", 5), 0);
  ASSERT_TRUE(send_all(there(), bytes_of("back!"), Deadline::now()));
  ASSERT_TRUE(receive_all(here(), buffer, Deadline::now()));
  EXPECT_EQ(std::memcmp(buffer.data(), "back!", 5), 0);
}

TEST_F(SocketTest, BothEndsAreCloseOnExec) {
  EXPECT_TRUE(os_test::is_close_on_exec(here()));
  EXPECT_TRUE(os_test::is_close_on_exec(there()));
}

TEST_F(SocketTest, ARefusedPairSaysWhyAndLeavesNothing) {
  os_test::expect_each_refusal("socketpair", {EMFILE, ENFILE, ENOMEM, EPERM}, [] { return make_socket_pair(); });

  const auto result = support::in_child([] {
    ::close(0);
    ::close(2);  // so that both ends have to move
    os_test::expect_each_refusal("fcntl", {EMFILE}, [] { return make_socket_pair(); });
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST_F(SocketTest, AMessageLargerThanTheSocketArrivesWholeThroughStormsOnBothSides) {
  const auto sent = pattern(std::size_t{8} << 20);
  os_test::PlainChild sender{[&] {
    pair_[1].reset();
    const os_test::SignalStorm storm;
    ::_exit(send_all(here(), sent, Deadline::never()) && os_test::SignalStorm::signals() > 0 ? 0 : 1);
  }};
  pair_[0].reset();
  std::vector<std::byte> got(sent.size());
  Result<> result;
  {
    const os_test::SignalStorm storm;
    wait_until_asleep(sender.pid());  // it has met a full socket
    result = receive_all(there(), got, Deadline::never());
  }

  EXPECT_TRUE(result) << result.error();
  EXPECT_TRUE(got == sent);
  EXPECT_EQ(sender.wait(), 0);
}

TEST_F(SocketTest, ReceiveSomeTakesWhatIsThereAndZeroAtTheEnd) {
  std::array<std::byte, 16> buffer{};
  ASSERT_TRUE(send_all(here(), bytes_of("abc"), Deadline::now()));

  EXPECT_EQ(receive_some(there(), buffer, Deadline::never()).value(), 3U);
  pair_[0].reset();
  const auto end = receive_some(there(), buffer, Deadline::never());

  ASSERT_TRUE(end);
  EXPECT_EQ(end.value(), 0U);
}

TEST_F(SocketTest, ReceivingFromNobodyWaitsOutTheDeadlineUnderAStormOfSignals) {
  std::array<std::byte, 16> buffer{};
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_EQ(receive_some(there(), buffer, 40ms).error(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - began, 40ms);
  EXPECT_EQ(receive_all(there(), buffer, 40ms).error(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - began, 80ms);
  EXPECT_EQ(receive_fds(there(), 1, 40ms).error(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - began, 120ms);

  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST_F(SocketTest, SendingIntoAFullSocketWaitsOutTheDeadlineUnderAStormOfSignals) {
  fill();
  const int fd[] = {here()};
  const os_test::SignalStorm storm;
  const auto began = Clock::now();

  EXPECT_EQ(send_all(here(), bytes_of("x"), 40ms).error(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - began, 40ms);
  EXPECT_EQ(send_fds(here(), fd, 40ms).error(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - began, 80ms);

  EXPECT_GT(os_test::SignalStorm::signals(), 5);
}

TEST_F(SocketTest, SendSomeTakesWhatThereIsRoomForAndDoesNotWaitForMore) {
  const std::vector<std::byte> much = pattern(std::size_t{16} << 20);

  const auto sent = send_some(here(), much, Deadline::now());

  ASSERT_TRUE(sent);
  EXPECT_GT(sent.value(), 0U);
  EXPECT_LT(sent.value(), much.size());
  fill();
  EXPECT_EQ(send_some(here(), much, Deadline::now()).error(), ETIMEDOUT);
  std::vector<std::byte> arrived(sent.value());
  ASSERT_TRUE(receive_all(there(), arrived, Deadline::now()));
  EXPECT_TRUE(std::equal(arrived.begin(), arrived.end(), much.begin()));
  pair_[1].reset();
  EXPECT_EQ(send_some(here(), much, Deadline::now()).error(), EPIPE);
}

TEST_F(SocketTest, AMessageOfDescriptorsForWhichThereIsNoRoomIsNotSentInPart) {
  fill();
  const int fd[] = {here(), here()};
  ASSERT_EQ(send_fds(here(), fd, Deadline::now()).error(), ETIMEDOUT);

  std::vector<std::byte> sink(1 << 16);
  while (receive_some(there(), sink, Deadline::now())) {
  }
  ASSERT_TRUE(send_fds(here(), fd, Deadline::now()));

  const auto received = receive_fds(there(), 2, Deadline::now());
  ASSERT_TRUE(received);
  EXPECT_EQ(received.value().size(), 2U);
}

TEST_F(SocketTest, APastDeadlineStillTakesWhatIsThere) {
  std::array<std::byte, 3> buffer{};
  ASSERT_TRUE(send_all(here(), bytes_of("abc"), -1s));

  EXPECT_TRUE(receive_all(there(), buffer, Deadline::now()));
  EXPECT_EQ(receive_all(there(), buffer, Deadline::now()).error(), ETIMEDOUT);
}

TEST_F(SocketTest, ADeadlineInTheMiddleOfATransferEndsIt) {
  std::array<std::byte, 16> buffer{};
  ASSERT_TRUE(send_all(here(), bytes_of("only this"), Deadline::now()));
  const auto began = Clock::now();

  EXPECT_EQ(receive_all(there(), buffer, 20ms).error(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - began, 20ms);

  const std::vector<std::byte> much(std::size_t{16} << 20);
  const auto then = Clock::now();
  EXPECT_EQ(send_all(here(), much, 20ms).error(), ETIMEDOUT);
  EXPECT_GE(Clock::now() - then, 20ms);
}

TEST_F(SocketTest, SendingToADeadPeerIsEpipeAndNoSigpipe) {
  const auto result = support::in_child([] {
    ::signal(SIGPIPE, SIG_DFL);
    auto pair = make_socket_pair().or_throw("sockets");
    pair[1].reset();
    const int fd[] = {pair[0].get()};

    EXPECT_EQ(send_all(pair[0].get(), bytes_of("x"), Deadline::never()).error(), EPIPE);
    EXPECT_EQ(send_fds(pair[0].get(), fd, Deadline::never()).error(), EPIPE);
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST_F(SocketTest, APeerKilledWhileWeSendIsAnErrorAndNotAHang) {
  os_test::PlainChild peer{[this] {
    pair_[0].reset();
    os_test::pause_for_ever();
  }};
  pair_[1].reset();
  fill();
  const pid_t sender = ::gettid();
  std::thread killer{[&] {
    wait_until_asleep(sender);
    ::kill(peer.pid(), SIGKILL);
  }};

  const auto result = send_all(here(), std::vector<std::byte>(1 << 20), Deadline::never());
  killer.join();

  // The kernel says ECONNRESET first where the peer left bytes unread, EPIPE from then on.
  EXPECT_TRUE(result.error() == EPIPE || result.error() == ECONNRESET) << result.error();
}

TEST_F(SocketTest, APeerKilledWhileWeReceiveIsTheEndOfTheStream) {
  os_test::PlainChild peer{[this] {
    (void)send_all(there(), bytes_of("half"), Deadline::never());
    pair_[0].reset();
    ::raise(SIGKILL);
  }};
  pair_[1].reset();
  std::array<std::byte, 8> buffer{};

  EXPECT_EQ(receive_all(here(), buffer, Deadline::never()).error(), ECONNRESET);
  EXPECT_EQ(receive_some(here(), buffer, Deadline::never()).value(), 0U);
  EXPECT_EQ(receive_fds(here(), 1, Deadline::never()).error(), ECONNRESET);
}

TEST_F(SocketTest, ReportsWhatTheKernelRefusesAndRepeatsWhatASignalInterrupted) {
  std::array<std::byte, 1> one{};
  const int fd[] = {here()};
  const auto send = [&] { return send_all(here(), one, Deadline::now()); };
  const auto receive = [&] { return receive_all(there(), one, Deadline::now()); };
  const auto hand_over = [&] { return send_fds(here(), fd, Deadline::now()); };
  const auto take_over = [&] { return receive_fds(there(), 1, Deadline::now()); };

  os_test::expect_each_refusal("send", {ENOMEM, ENOBUFS, EPERM, ECONNRESET}, send);
  os_test::expect_each_repeated("send", EINTR, send);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(send());
  os_test::expect_each_refusal("recv", {ENOMEM, ECONNRESET}, receive);
  os_test::expect_each_repeated("recv", EINTR, receive);
  while (receive()) {
  }
  os_test::expect_each_refusal("sendmsg", {ENOMEM, ETOOMANYREFS, EPERM, ENOBUFS}, hand_over);
  os_test::expect_each_repeated("sendmsg", EINTR, hand_over);
  os_test::expect_each_refusal("recvmsg", {ENOMEM, EPERM}, take_over);
  os_test::expect_each_repeated("recvmsg", EINTR, take_over);
  while (take_over()) {
  }
  // What would block is waited for by poll, whose refusals come through as well.
  os_test::expect_each_refusal("poll", {ENOMEM}, [&] {
    auto result = receive_some(there(), one, Deadline::now());
    return result.error() == ETIMEDOUT ? Result<std::size_t>{} : std::move(result);
  });
}

TEST_F(SocketTest, TheProcessThatMadeThePairIsKnownToEveryoneWhoHoldsIt) {
  const pid_t maker = ::getpid();
  os_test::PlainChild child{[&] { ::_exit(peer_pid(there()).value() == maker ? 0 : 1); }};

  EXPECT_EQ(peer_pid(here()).value(), maker);
  EXPECT_EQ(peer_pid(there()).value(), maker);
  EXPECT_EQ(child.wait(), 0);
  EXPECT_EQ(peer_pid(-1).error(), EBADF);
  EXPECT_EQ(peer_pid(make_pipe().value().read.get()).error(), ENOTSOCK);
  os_test::expect_each_refusal("getsockopt", {EPERM, ENOSYS}, [this] { return peer_pid(here()); });
}

TEST_F(SocketTest, TheProcessThatMadeThePairIsKnownWhenItIsGone) {
  std::array<std::byte, 1> one{};
  os_test::PlainChild maker{[this] {
    auto pair = make_socket_pair().or_throw("sockets");
    const int sent[] = {pair[0].get()};
    (void)send_fds(here(), sent, Deadline::never());
  }};
  const pid_t pid = maker.pid();
  EXPECT_EQ(maker.wait(), 0);

  const auto received = receive_fds(there(), 1, Deadline::never()).or_throw("receiving");

  EXPECT_EQ(peer_pid(received[0].get()).value(), pid);
  EXPECT_EQ(receive_some(received[0].get(), one, Deadline::never()).value(), 0U) << "its other end went with it";
}

TEST_F(SocketTest, ABadDescriptorIsReported) {
  std::array<std::byte, 1> one{};
  const auto pipe = make_pipe().or_throw("pipe");
  const int bad[] = {1'000'000};

  EXPECT_EQ(send_all(-1, one, Deadline::never()).error(), EBADF);
  EXPECT_EQ(receive_all(-1, one, Deadline::never()).error(), EBADF);
  EXPECT_EQ(send_all(pipe.write.get(), one, Deadline::never()).error(), ENOTSOCK);
  EXPECT_EQ(send_fds(here(), bad, Deadline::never()).error(), EBADF);
  EXPECT_EQ(receive_fds(there(), 1, Deadline::now()).error(), ETIMEDOUT) << "nothing of it was sent";
}

// --- descriptors on their way ---------------------------------------------------------------------------------------

class FdPassingTest : public SocketTest, public testing::WithParamInterface<std::size_t> {};
INSTANTIATE_TEST_SUITE_P(Counts, FdPassingTest, testing::Values(0U, 1U, 2U, 252U, 253U, 254U, 506U, 507U, 1000U));

// Pipes whose read ends hold their own index, so that order and identity show at the other side.
struct Numbered {
  std::vector<PipeEnds> pipes;
  std::vector<int> read_ends;
  explicit Numbered(std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
      pipes.push_back(make_pipe().or_throw("pipe"));
      (void)!::write(pipes.back().write.get(), &i, sizeof i);
      read_ends.push_back(pipes.back().read.get());
    }
  }
};

TEST_P(FdPassingTest, ArriveAllInOrderAndCloseOnExec) {
  const std::size_t count = GetParam();
  std::vector<Fd> received;
  {
    const Numbered sent{count};
    std::thread sender{[&] { EXPECT_TRUE(send_fds(here(), sent.read_ends, Deadline::never())); }};
    received = receive_fds(there(), count, Deadline::never()).or_throw("receiving");
    sender.join();
  }  // the originals close: what arrived are descriptors of their own

  ASSERT_EQ(received.size(), count);
  for (std::size_t i = 0; i < count; ++i) {
    std::size_t number = 0;
    ASSERT_EQ(::read(received[i].get(), &number, sizeof number), static_cast<ssize_t>(sizeof number));
    EXPECT_EQ(number, i);
    EXPECT_TRUE(os_test::is_close_on_exec(received[i].get()));
    EXPECT_GT(received[i].get(), 2);
  }
}

TEST_P(FdPassingTest, AreFollowedByBytesInTheirPlace) {
  const std::size_t count = GetParam();
  const Numbered sent{count};
  std::thread sender{[&] {
    EXPECT_TRUE(send_all(here(), bytes_of("before"), Deadline::never()));
    EXPECT_TRUE(send_fds(here(), sent.read_ends, Deadline::never()));
    EXPECT_TRUE(send_all(here(), bytes_of("after"), Deadline::never()));
  }};
  std::array<std::byte, 6> before{};
  std::array<std::byte, 5> after{};

  const auto got_before = receive_all(there(), before, Deadline::never());
  const auto fds = receive_fds(there(), count, Deadline::never());
  const auto got_after = receive_all(there(), after, Deadline::never());
  sender.join();

  EXPECT_TRUE(got_before && fds && got_after);
  EXPECT_EQ(std::memcmp(after.data(), "after", 5), 0);
}

TEST_P(FdPassingTest, WithoutRoomAreEmfileAndLeaveNothing) {
  const std::size_t count = GetParam();
  if (count == 0) return;
  for (const unsigned room : {0U, 1U, 200U, 253U, 254U, 400U}) {
    if (room >= count) continue;
    SCOPED_TRACE(room);
    const Numbered sent{count};
    const auto result = support::in_child([&] {
      auto pair = make_socket_pair().or_throw("sockets");
      os_test::PlainChild sender{[&] { ::_exit(send_fds(pair[0].get(), sent.read_ends, Deadline::never()).error()); }};
      pair[0].reset();
      const auto before = os_test::descriptors();
      rlimit usual{};
      ::getrlimit(RLIMIT_NOFILE, &usual);
      os_test::leave_room_for(room);
      auto received = receive_fds(pair[1].get(), count, Deadline::never());
      const int error = received.error();
      received = Failure{"", EIO};
      ::setrlimit(RLIMIT_NOFILE, &usual);
      EXPECT_EQ(error, EMFILE);
      EXPECT_EQ(os_test::descriptors(), before);
      pair[1].reset();
      const int sender_status = WEXITSTATUS(sender.wait());
      EXPECT_TRUE(sender_status == 0 || sender_status == EPIPE || sender_status == ECONNRESET) << sender_status;
    });
    EXPECT_EQ(result.status, 0) << result.out << result.err;
  }
}

TEST_F(SocketTest, DescriptorsThatArriveLowMoveUpOrLeaveNothing) {
  const auto result = support::in_child([] {
    auto pair = make_socket_pair().or_throw("sockets");
    const Numbered sent{6};
    ASSERT_TRUE(send_fds(pair[0].get(), sent.read_ends, Deadline::never()));
    ASSERT_TRUE(send_fds(pair[0].get(), sent.read_ends, Deadline::never()));
    ASSERT_TRUE(send_fds(pair[0].get(), sent.read_ends, Deadline::never()));
    const int out = ::fcntl(1, F_DUPFD, 500);
    ::close(0);
    ::close(1);
    ::close(2);
    const auto before = os_test::descriptors();
    int errors[2]{};
    bool clean[2]{};
    for (int nth = 1; nth <= 2; ++nth) {
      const os_test::Refusing refusing{"fcntl", EMFILE, nth};
      errors[nth - 1] = receive_fds(pair[1].get(), 6, Deadline::never()).error();
      clean[nth - 1] = os_test::descriptors() == before;
    }
    const auto received = receive_fds(pair[1].get(), 6, Deadline::never());
    const bool low = os_test::is_open(0) || os_test::is_open(1) || os_test::is_open(2);
    ::dup2(out, 1);
    for (int i = 0; i < 2; ++i) {
      EXPECT_EQ(errors[i], EMFILE);
      EXPECT_TRUE(clean[i]) << "the others of the same message were left open";
    }
    ASSERT_TRUE(received);
    EXPECT_EQ(received.value().size(), 6U);
    EXPECT_FALSE(low);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_F(SocketTest, MoreDescriptorsThanAskedForAreEprotoAndLeaveNothing) {
  const Numbered sent{5};
  const auto before = os_test::descriptors();
  ASSERT_TRUE(send_fds(here(), sent.read_ends, Deadline::never()));

  EXPECT_EQ(receive_fds(there(), 3, Deadline::now()).error(), EPROTO);

  EXPECT_EQ(os_test::descriptors(), before);
}

TEST_F(SocketTest, BytesInPlaceOfDescriptorsAreEproto) {
  ASSERT_TRUE(send_all(here(), bytes_of("Freely spoken"), Deadline::never()));

  EXPECT_EQ(receive_fds(there(), 1, Deadline::now()).error(), EPROTO);
}

TEST_F(SocketTest, DescriptorsInPlaceOfBytesLeaveNothing) {
  const Numbered sent{3};
  const auto before = os_test::descriptors();
  ASSERT_TRUE(send_fds(here(), sent.read_ends, Deadline::never()));
  std::array<std::byte, 1> one{};

  EXPECT_TRUE(receive_all(there(), one, Deadline::now()));

  EXPECT_EQ(os_test::descriptors(), before) << "received without room for rights: the kernel drops them";
}

TEST_F(SocketTest, ADeadlineBetweenTwoMessagesOfDescriptorsEndsTheTransferAndLeavesNothing) {
  const Numbered sent{kMaxFdsPerMessage};
  const auto before = os_test::descriptors();
  ASSERT_TRUE(send_fds(here(), sent.read_ends, Deadline::never()));
  const auto began = Clock::now();

  EXPECT_EQ(receive_fds(there(), kMaxFdsPerMessage + 1, 20ms).error(), ETIMEDOUT);

  EXPECT_GE(Clock::now() - began, 20ms);
  EXPECT_EQ(os_test::descriptors(), before);
}

TEST_F(SocketTest, AReceiverThatDiesWithDescriptorsUnreadLeavesNoneOfThemOpen) {
  auto pipe = make_pipe().or_throw("pipe");
  {
    const int sent[] = {pipe.write.get()};
    ASSERT_TRUE(send_fds(here(), sent, Deadline::never()));
  }
  pipe.write.reset();
  pair_[1].reset();
  pair_[0].reset();
  std::array<std::byte, 1> one{};

  EXPECT_EQ(read_some(pipe.read.get(), one).value(), 0U) << "the last write end went with the message";
}

}  // namespace
