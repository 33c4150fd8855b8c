// SPDX-License-Identifier: MIT

#include <multiproc/ipc/connection.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/ipc/pipe.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/shm/shared_memory.hpp>
#include <multiproc/sync/event.hpp>
#include <multiproc/sync/lock.hpp>
#include <multiproc/sync/semaphore.hpp>

#include "os/os_test.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::BufferTooShort;
using multiproc::Connection;
using multiproc::Deadline;
using multiproc::DecodeError;
using multiproc::EndOfStream;
using multiproc::InvalidState;
using multiproc::Lock;
using multiproc::Pipe;
using multiproc::Process;
using multiproc::SharedMemory;
using multiproc::TypeMismatch;
using Clock = std::chrono::steady_clock;

static_assert(std::is_nothrow_move_constructible_v<Connection> && !std::is_copy_constructible_v<Connection>);
static_assert(multiproc::Sendable<Connection>);

// The segment that small objects stand in stays for the life of the process.
const Lock first_in_its_segment;

constexpr std::size_t kLarge = 100'000;  // more than goes through the kernel's queue

std::vector<std::byte> pattern(std::size_t size, unsigned seed = 1) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 31 + seed + i / 251) & 0xff);
  return bytes;
}

template <class F>
void expect_system_error(int error, F&& f) {
  try {
    f();
    ADD_FAILURE() << "nothing was thrown";
  } catch (const std::system_error& refused) {
    EXPECT_EQ(refused.code().value(), error) << refused.what();
  }
}

int open_descriptors() {
  int count = 0;
  for (int fd = 0; fd < 4096; ++fd) count += ::fcntl(fd, F_GETFD) >= 0 ? 1 : 0;
  return count;
}

struct Point {
  double x = 0;
  double y = 0;
  bool operator==(const Point&) const = default;
};

struct Job {
  std::string name;
  std::vector<Point> points;
  std::map<std::string, int> counts;
  std::optional<std::string> remark;
  bool operator==(const Job&) const = default;
};

TEST(PipeTest, BothEndsSendAndReceiveAnySendable) {
  auto [a, b] = Pipe();
  const Job job{"sum", {{1, 2}, {3, 4}}, {{"a", 1}}, "urgent"};

  a.send(42);
  a.send(std::string("text"));
  a.send(job);
  b.send(std::vector<double>{1.5, 2.5});
  b.send(std::make_tuple(true, 'c', 3L));

  EXPECT_EQ(b.recv<int>(), 42);
  EXPECT_EQ(b.recv<std::string>(), "text");
  EXPECT_EQ(b.recv<Job>(), job);
  EXPECT_EQ(a.recv<std::vector<double>>(), (std::vector<double>{1.5, 2.5}));
  EXPECT_EQ((a.recv<std::tuple<bool, char, long>>()), std::make_tuple(true, 'c', 3L));
}

TEST(PipeTest, OneWayTheFirstReceivesAndTheSecondSends) {
  auto [in, out] = Pipe(false);

  EXPECT_TRUE(in.readable());
  EXPECT_FALSE(in.writable());
  EXPECT_FALSE(out.readable());
  EXPECT_TRUE(out.writable());
  EXPECT_THROW(in.send(1), InvalidState);
  EXPECT_THROW(in.send_bytes(std::span<const std::byte>()), InvalidState);
  EXPECT_THROW((void)out.recv<int>(), InvalidState);
  EXPECT_THROW((void)out.poll(), InvalidState);

  out.send(7);
  EXPECT_EQ(in.recv<int>(), 7);
}

TEST(PipeTest, NoDescriptorIsAnError) {
  const os_test::Refusing refusing("socketpair", EMFILE);
  expect_system_error(EMFILE, [] { const Pipe pipe; });
}

TEST(ConnectionTest, MessagesKeepTheirBoundariesTheEmptyOneToo) {
  auto [a, b] = Pipe();
  const std::vector<std::size_t> sizes{0, 1, 2, 1023, 1024, 1025, 32'767, 32'768, 32'769, 0, kLarge, 1u << 20, 3};
  std::thread sender([&, &a = a] {
    for (const std::size_t size : sizes) a.send_bytes(pattern(size));
  });

  for (const std::size_t size : sizes) EXPECT_EQ(b.recv_bytes(), pattern(size)) << size;
  sender.join();
}

TEST(ConnectionTest, IntoABufferOfAnySize) {
  auto [a, b] = Pipe();
  for (const std::size_t room :
       {std::size_t{0}, std::size_t{5}, std::size_t{1024}, std::size_t{1025}, kLarge, std::size_t{1} << 20}) {
    std::vector<std::byte> buffer(room);
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, std::size_t{5}, std::size_t{1024}, std::size_t{1025},
                                   std::size_t{32'768}, std::size_t{32'769}, kLarge}) {
      const auto sent = pattern(size);
      a.send_bytes(sent);
      if (size <= room) {
        EXPECT_EQ(b.recv_bytes_into(buffer), size);
        EXPECT_TRUE(std::equal(sent.begin(), sent.end(), buffer.begin())) << size << " into " << room;
      } else {
        try {
          (void)b.recv_bytes_into(buffer);
          ADD_FAILURE() << size << " into " << room;
        } catch (const BufferTooShort& error) {
          EXPECT_TRUE(std::ranges::equal(error.message(), sent)) << size << " into " << room;
        }
      }
    }
  }
  EXPECT_FALSE(b.poll());
}

TEST(ConnectionTest, MoreThanTheMostIsInTheException) {
  auto [a, b] = Pipe();
  a.send_bytes("too long");
  a.send_bytes("next");

  try {
    (void)b.recv_bytes(4);
    ADD_FAILURE();
  } catch (const BufferTooShort& error) {
    EXPECT_EQ(error.message().size(), 8U);
    EXPECT_NE(std::string(error.what()).find("8 bytes"), std::string::npos) << error.what();
  }
  EXPECT_EQ(b.recv_bytes(4).size(), 4U);
}

TEST(ConnectionTest, AnotherTypeIsToldAndNotLost) {
  auto [a, b] = Pipe();
  a.send(std::string("a string"));
  a.send_bytes("bytes");
  a.send(Point{1, 2});
  a.send(pattern(kLarge));
  a.send(5);

  try {
    (void)b.recv<int>();
    ADD_FAILURE();
  } catch (const TypeMismatch& error) {
    EXPECT_TRUE(error.holds<std::string>());
    EXPECT_FALSE(error.holds<Point>());
    EXPECT_EQ(error.get<std::string>(), "a string");
    EXPECT_NE(std::string(error.what()).find("int"), std::string::npos) << error.what();
  }
  try {
    (void)b.recv<int>();
    ADD_FAILURE();
  } catch (const TypeMismatch& error) {
    EXPECT_EQ(error.bytes().size(), 5U);
    EXPECT_NE(std::string(error.what()).find("recv_bytes"), std::string::npos) << error.what();
  }
  try {
    (void)b.recv_bytes();
    ADD_FAILURE();
  } catch (const TypeMismatch& error) {
    EXPECT_EQ(error.get<Point>(), (Point{1, 2}));
    EXPECT_THROW((void)error.get<int>(), DecodeError);
  }
  std::vector<std::byte> buffer(2 * kLarge);
  try {
    (void)b.recv_bytes_into(buffer);
    ADD_FAILURE();
  } catch (const TypeMismatch& error) {
    EXPECT_EQ(error.get<std::vector<std::byte>>(), pattern(kLarge));
  }
  EXPECT_EQ(b.recv<int>(), 5);
}

TEST(ConnectionTest, WhatThePeerSentIsReceivedBeforeTheEnd) {
  auto [a, b] = Pipe();
  b.send(0);  // that nobody receives: the kernel says so to its sender
  a.send(1);
  a.send_bytes(pattern(kLarge));
  a.close();

  EXPECT_EQ(b.recv<int>(), 1);
  EXPECT_EQ(b.recv_bytes(), pattern(kLarge));
  EXPECT_TRUE(b.poll());
  EXPECT_THROW((void)b.recv<int>(), EndOfStream);
  EXPECT_THROW((void)b.recv<int>(1h), EndOfStream);
  EXPECT_THROW((void)b.recv_bytes(), EndOfStream);
  std::byte one;
  EXPECT_THROW((void)b.recv_bytes_into({&one, 1}), EndOfStream);
}

TEST(ConnectionTest, SendingToNobodyIsAnErrorAndNoSignal) {
  auto [a, b] = Pipe();
  b.close();

  expect_system_error(EPIPE, [&a = a] { a.send(1); });
  expect_system_error(EPIPE, [&a = a] { (void)a.send(1, 1h); });
  expect_system_error(EPIPE, [&a = a] { a.send_bytes(pattern(kLarge)); });
  EXPECT_THROW((void)a.recv<int>(), EndOfStream);
}

TEST(ConnectionTest, AClosedOneSaysSo) {
  auto [a, b] = Pipe();
  EXPECT_FALSE(a.closed());
  a.close();
  a.close();

  EXPECT_TRUE(a.closed());
  EXPECT_FALSE(a.readable());
  EXPECT_FALSE(a.writable());
  EXPECT_THROW(a.send(1), InvalidState);
  EXPECT_THROW((void)a.recv<int>(), InvalidState);
  EXPECT_THROW((void)a.poll(), InvalidState);
  EXPECT_THROW((void)a.fileno(), InvalidState);
  EXPECT_THROW(b.send(a), InvalidState);

  Connection moved = std::move(b);
  EXPECT_TRUE(b.closed());  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_FALSE(moved.closed());
  EXPECT_TRUE(Connection().closed());
}

TEST(ConnectionTest, ADeadlineBoundsTheReceiver) {
  auto [a, b] = Pipe();
  const auto began = Clock::now();
  EXPECT_EQ(b.recv<int>(20ms), std::nullopt);
  EXPECT_EQ(b.recv_bytes(20ms), std::nullopt);
  std::byte one;
  EXPECT_EQ(b.recv_bytes_into({&one, 1}, 20ms), std::nullopt);
  EXPECT_FALSE(b.poll(20ms));
  EXPECT_GE(Clock::now() - began, 80ms);
  EXPECT_EQ(b.recv<int>(-1h), std::nullopt);
  EXPECT_FALSE(b.poll());

  a.send(1);
  EXPECT_TRUE(b.poll());
  EXPECT_TRUE(b.poll(1h));
  EXPECT_EQ(b.recv<int>(-1h), 1);
}

TEST(ConnectionTest, ADeadlineBoundsTheSender) {
  auto [a, b] = Pipe();
  int sent = 0;
  while (a.send(sent, Deadline::now())) ++sent;
  ASSERT_GT(sent, 10);

  const auto began = Clock::now();
  EXPECT_FALSE(a.send(-1, 30ms));
  EXPECT_FALSE(a.send_bytes(pattern(10), 30ms));
  EXPECT_GE(Clock::now() - began, 60ms);

  for (int i = 0; i < sent; ++i) EXPECT_EQ(b.recv<int>(), i);
  EXPECT_FALSE(b.poll()) << "what had timed out was sent all the same";
}

TEST(ConnectionTest, ADeadlineBoundsTheSenderOfLargeMessages) {
  auto [a, b] = Pipe();
  std::size_t sent = 0;
  while (a.send_bytes(pattern(kLarge, static_cast<unsigned>(sent)), Deadline::now())) ++sent;
  EXPECT_EQ(sent, 4U) << "so many may be under way";

  const auto began = Clock::now();
  EXPECT_FALSE(a.send_bytes(pattern(kLarge), 120ms));
  EXPECT_FALSE(a.send(std::vector<std::string>(kLarge, "x"), 10ms));
  EXPECT_GE(Clock::now() - began, 130ms);
  EXPECT_TRUE(a.send_bytes("small ones have room", Deadline::now()));

  for (std::size_t i = 0; i < sent; ++i) EXPECT_EQ(b.recv_bytes(), pattern(kLarge, static_cast<unsigned>(i)));
  EXPECT_EQ(b.recv_bytes().size(), 20U);
  EXPECT_TRUE(a.send_bytes(pattern(kLarge), Deadline::now()));
  EXPECT_EQ(b.recv_bytes(), pattern(kLarge));
}

TEST(ConnectionTest, ASenderThatWaitsForRoomGoesOnWhenThereIsSome) {
  auto [a, b] = Pipe();
  constexpr int kRounds = 2000;
  std::thread sender([&a = a] {
    for (int i = 0; i < kRounds; ++i) a.send(std::vector<int>(static_cast<std::size_t>(i % 7 == 0 ? 20'000 : 3), i));
  });

  for (int i = 0; i < kRounds; ++i) {
    const auto got = b.recv<std::vector<int>>();
    ASSERT_EQ(got.size(), i % 7 == 0 ? 20'000U : 3U);
    ASSERT_EQ(got.back(), i);
  }
  sender.join();
}

TEST(ConnectionTest, WaitsGoOnUnderAStormOfSignals) {
  auto [a, b] = Pipe();
  {
    const os_test::SignalStorm storm;
    EXPECT_EQ(b.recv<int>(40ms), std::nullopt);
    EXPECT_GT(os_test::SignalStorm::signals(), 5);
  }
  std::thread later([&a = a] {
    std::this_thread::sleep_for(20ms);  // not for order: so that the storm meets a wait
    a.send(3);
  });
  {
    const os_test::SignalStorm storm;
    EXPECT_EQ(b.recv<int>(), 3);
  }
  later.join();
}

TEST(ConnectionTest, ANonBlockingDescriptorChangesNothing) {
  auto [a, b] = Pipe();
  ::fcntl(a.fileno(), F_SETFL, O_NONBLOCK);
  ::fcntl(b.fileno(), F_SETFL, O_NONBLOCK);
  constexpr int kRounds = 3000;
  std::thread sender([&a = a] {
    for (int i = 0; i < kRounds; ++i) a.send(i);
  });
  for (int i = 0; i < kRounds; ++i) ASSERT_EQ(b.recv<int>(), i);
  sender.join();
}

TEST(ConnectionTest, WhatOthersWriteToItsDescriptorIsNoMessage) {
  auto [a, b] = Pipe();
  const std::string noise(40, 'x');
  ASSERT_EQ(::send(a.fileno(), noise.data(), noise.size(), 0), 40);
  ASSERT_EQ(::send(a.fileno(), noise.data(), 3, 0), 3);
  a.send(1);

  EXPECT_THROW((void)b.recv<int>(), DecodeError);
  EXPECT_THROW((void)b.recv_bytes(), DecodeError);
  EXPECT_EQ(b.recv<int>(), 1);
}

TEST(ConnectionTest, ManyThreadsAtBothEndsMixNothing) {
  constexpr unsigned kThreads = 4;
  constexpr unsigned kEach = 500;
  auto [a, b] = Pipe();
  std::vector<std::thread> threads;
  std::atomic<unsigned> seen{0};
  std::atomic<std::uint64_t> sum{0};
  for (unsigned t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t, &a = a] {
      for (unsigned i = 0; i < kEach; ++i) {
        const std::size_t size = i % 50 == 0 ? kLarge : i;
        a.send(std::make_pair(t * kEach + i, pattern(size, t * kEach + i)));
      }
    });
    threads.emplace_back([&, &b = b] {
      for (unsigned i = 0; i < kEach; ++i) {
        const auto [number, bytes] = b.recv<std::pair<unsigned, std::vector<std::byte>>>();
        const std::size_t size = number % kEach % 50 == 0 ? kLarge : number % kEach;
        if (bytes == pattern(size, number)) ++seen;
        sum += number;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  const std::uint64_t all = kThreads * kEach;
  EXPECT_EQ(seen, all);
  EXPECT_EQ(sum, all * (all - 1) / 2);
}

TEST(ConnectionTest, ManyProcessesAtBothEndsMixNothing) {
  constexpr unsigned kProcesses = 3;
  constexpr unsigned kEach = 300;
  auto [a, b] = Pipe();
  auto [sums_in, sums_out] = Pipe(false);
  std::vector<std::unique_ptr<os_test::PlainChild>> children;
  for (unsigned t = 0; t < kProcesses; ++t) {
    children.push_back(std::make_unique<os_test::PlainChild>([&, t, &a = a] {
      for (unsigned i = 0; i < kEach; ++i) a.send(std::make_pair(t * kEach + i, pattern(i % 40 == 0 ? kLarge : i, i)));
    }));
    children.push_back(std::make_unique<os_test::PlainChild>([&, &b = b, &sums_out = sums_out] {
      std::uint64_t sum = 0;
      for (unsigned i = 0; i < kEach; ++i) {
        const auto [number, bytes] = b.recv<std::pair<unsigned, std::vector<std::byte>>>();
        const unsigned its = number % kEach;
        if (bytes != pattern(its % 40 == 0 ? kLarge : its, its)) ::_exit(3);
        sum += number;
      }
      sums_out.send(sum);
    }));
  }
  std::uint64_t sum = 0;
  for (unsigned t = 0; t < kProcesses; ++t) sum += sums_in.recv<std::uint64_t>();
  for (auto& child : children) EXPECT_EQ(child->wait(), 0);
  const std::uint64_t all = kProcesses * kEach;
  EXPECT_EQ(sum, all * (all - 1) / 2);
}

TEST(ConnectionTest, HandlesTravel) {
  auto [a, b] = Pipe();
  const Lock lock;
  const multiproc::Event event;
  SharedMemory memory = SharedMemory::anonymous(1 << 16);
  memory.bytes()[5] = std::byte{9};

  a.send(lock);
  a.send(std::vector<multiproc::Event>{event, event});
  a.send(memory);
  {
    const Lock same = b.recv<Lock>();
    EXPECT_EQ(same, lock);
  }
  b.recv<std::vector<multiproc::Event>>().back().set();
  EXPECT_TRUE(event.is_set());
  EXPECT_EQ(b.recv<SharedMemory>().bytes()[5], std::byte{9});
}

TEST(ConnectionTest, ItselfTravels) {
  auto [a, b] = Pipe();
  auto [c, d] = Pipe();
  std::map<std::string, Connection> ends;
  ends.emplace("c", std::move(c));

  a.send(ends);
  ends.clear();
  auto arrived = b.recv<std::map<std::string, Connection>>();
  d.send(std::string("to c"));
  EXPECT_EQ(arrived.at("c").recv<std::string>(), "to c");
  arrived.clear();
  EXPECT_THROW((void)d.recv<int>(), EndOfStream);
}

TEST(ConnectionTest, AWholeSharedBlockIsHandedOverWithoutACopy) {
  auto [a, b] = Pipe();
  SharedMemory memory = SharedMemory::anonymous(64 << 20);
  memory.bytes()[(64 << 20) - 1] = std::byte{1};
  a.send(memory);
  memory.close();
  EXPECT_EQ(b.recv<SharedMemory>().bytes()[(64 << 20) - 1], std::byte{1});
}

struct Descriptors {
  std::vector<Connection> ends;
};

TEST(ConnectionTest, MoreDescriptorsThanAMessageOfTheKernelTakes) {
  for (const std::size_t count : {1UL, 250UL, 251UL, 252UL, 253UL, 254UL, 400UL}) {
    const int before = open_descriptors();
    {
      auto [a, b] = Pipe();
      auto [c, d] = Pipe();
      Descriptors many;
      a.send(c);
      const Connection first = b.recv<Connection>();
      for (std::size_t i = 0; i < count; ++i) {
        a.send(c);
        many.ends.push_back(b.recv<Connection>());
      }
      a.send(many);
      const Descriptors arrived = b.recv<Descriptors>();
      ASSERT_EQ(arrived.ends.size(), count);
      arrived.ends.front().send(1);
      arrived.ends.back().send(2);
      EXPECT_EQ(d.recv<int>(), 1);
      EXPECT_EQ(d.recv<int>(), 2);
    }
    EXPECT_EQ(open_descriptors(), before) << count;
  }
}

TEST(ConnectionTest, DescriptorsThatFindNoRoomAreToldAndClosed) {
  const auto child = support::in_child([] {
    for (const std::size_t count : {2UL, 300UL}) {
      auto [a, b] = Pipe();
      auto [c, d] = Pipe();
      Descriptors many;
      for (std::size_t i = 0; i < count; ++i) {
        a.send(c);
        many.ends.push_back(b.recv<Connection>());
      }
      a.send(many);
      a.send(7);
      many.ends.clear();
      const int before = open_descriptors();
      rlimit limit{};
      ::getrlimit(RLIMIT_NOFILE, &limit);
      os_test::leave_room_for(count == 2 ? 1 : 100);
      expect_system_error(EMFILE, [&b = b] { (void)b.recv<Descriptors>(); });
      ::setrlimit(RLIMIT_NOFILE, &limit);
      EXPECT_EQ(open_descriptors(), before) << count;
      EXPECT_EQ(b.recv<int>(), 7);
    }
  });
  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

TEST(ConnectionTest, RefusalsOfTheKernelLoseNothing) {
  auto [a, b] = Pipe();
  for (const int error : {ENOMEM, ENOBUFS, EMFILE}) {
    const os_test::Refusing refusing("sendmsg", error);
    expect_system_error(error, [&a = a] { a.send(1); });
  }
  for (const int error : {ENOSPC, EMFILE, ENOMEM}) {
    const os_test::Refusing refusing("memfd_create", error);
    expect_system_error(error, [&a = a] { a.send_bytes(pattern(kLarge)); });
  }
  {
    const os_test::Refusing refusing("memfd_create", EPERM);
    EXPECT_THROW(a.send_bytes(pattern(kLarge)), multiproc::Unsupported);
  }
  a.send(2);
  {
    const os_test::Refusing refusing("recvmsg", ENOMEM);
    expect_system_error(ENOMEM, [&b = b] { (void)b.recv<int>(); });
  }
  {
    const os_test::Refusing refusing("recvmsg", EINTR, 1, 5);
    EXPECT_EQ(b.recv<int>(), 2);
  }
}

// Reused blocks, as many as are under way and no more; what is written anew does not reach into what is being read.
TEST(ConnectionTest, ALongStreamOfLargeMessagesUsesItsBlocksAgain) {
  auto [a, b] = Pipe();
  std::thread sender([&a = a] {
    for (unsigned i = 0; i < 300; ++i) a.send_bytes(pattern(kLarge + i * 10, i));
  });
  for (unsigned i = 0; i < 300; ++i) ASSERT_EQ(b.recv_bytes(), pattern(kLarge + i * 10, i)) << i;
  sender.join();
}

// A message is decoded where it lies, and user code may receive meanwhile.
struct Nosy {
  static inline const Connection* other = nullptr;
  int value = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    std::string name = "a name that is longer than short strings are";
    archive(name);
    if (Archive::is_loading::value && other != nullptr) value = other->recv<int>();
    archive(name);
    EXPECT_EQ(name, "a name that is longer than short strings are");
  }
};

TEST(ConnectionTest, AnObjectThatReceivesWhileItIsReceived) {
  auto [a, b] = Pipe();
  auto [c, d] = Pipe();
  Nosy::other = &d;
  c.send(77);
  a.send(Nosy{});
  EXPECT_EQ(b.recv<Nosy>().value, 77);
  Nosy::other = nullptr;
}

class ConnectionInProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(ConnectionInProcessesTest);

TEST_P(ConnectionInProcessesTest, IsAnArgumentAndItsEndIsSeenWhenTheChildEnds) {
  auto [ours, theirs] = Pipe();
  Process worker{options(),
                 [](const Connection& parent) {
                   for (int n = parent.recv<int>(); n != 0; n = parent.recv<int>()) parent.send(n * n);
                 },
                 std::move(theirs)};
  worker.start();

  ours.send(3);
  EXPECT_EQ(ours.recv<int>(), 9);
  ours.send(0);
  EXPECT_THROW((void)ours.recv<int>(), EndOfStream) << "nobody here keeps the child's end";
  worker.join();
  EXPECT_EQ(worker.exitcode(), 0);
}

TEST_P(ConnectionInProcessesTest, AKilledChildIsAnEnd) {
  auto [ours, theirs] = Pipe();
  Process worker{options(),
                 [](const Connection& parent) {
                   parent.send(std::string("here"));
                   os_test::pause_for_ever();
                 },
                 std::move(theirs)};
  worker.start();
  EXPECT_EQ(ours.recv<std::string>(), "here");
  worker.kill();
  EXPECT_THROW((void)ours.recv<int>(), EndOfStream);
  expect_system_error(EPIPE, [&ours = ours] { ours.send(1); });
  worker.join();
}

TEST_P(ConnectionInProcessesTest, CarriesHandlesAndLargeMessagesBothWays) {
  auto [ours, theirs] = Pipe();
  Process worker{options(),
                 [](const Connection& parent) {
                   const auto lock = parent.recv<Lock>();
                   const std::scoped_lock held(lock);
                   parent.send(lock.is_mine());
                   const auto another = parent.recv<Connection>();
                   another.send(pattern(kLarge, 5));
                   parent.send_bytes(parent.recv_bytes());
                 },
                 std::move(theirs)};
  worker.start();
  const Lock lock;
  ours.send(lock);
  EXPECT_TRUE(ours.recv<bool>());
  EXPECT_FALSE(lock.try_lock());
  auto [in, out] = Pipe(false);
  ours.send(out);
  out.close();
  EXPECT_EQ(in.recv<std::vector<std::byte>>(), pattern(kLarge, 5));
  ours.send_bytes(pattern(10 * kLarge));
  EXPECT_EQ(ours.recv_bytes(), pattern(10 * kLarge));
  worker.join();
  EXPECT_EQ(worker.exitcode(), 0);
}

void tell_of_the_end(const Connection& peer, const Connection& out) {
  try {
    (void)peer.recv<int>();
  } catch (const EndOfStream&) {
    out.send(std::string("the end"));
  }
}

TEST_P(ConnectionInProcessesTest, AChildHoldsNoEndThatItsParentOrSiblingCloses) {
  auto [first, firsts] = Pipe();
  auto [second, seconds] = Pipe();
  auto [in, out] = Pipe(false);
  auto [more_in, more_out] = Pipe(false);
  Process one{options(), tell_of_the_end, std::move(firsts), std::move(out)};
  Process two{options(), tell_of_the_end, std::move(seconds), std::move(more_out)};
  one.start();
  two.start();

  first.close();
  EXPECT_EQ(in.recv<std::string>(), "the end");
  one.join();
  second.close();
  EXPECT_EQ(more_in.recv<std::string>(), "the end");
  two.join();
}

struct Ends {
  std::vector<std::optional<Connection>> all;
  std::map<int, std::pair<Connection, int>> more;
};

TEST_P(ConnectionInProcessesTest, WhatItWasGivenIsFoundWhereverItIs) {
  auto [a, b] = Pipe();
  auto [c, d] = Pipe();
  auto [e, f] = Pipe();
  Ends ends;
  ends.all.emplace_back(std::nullopt);
  ends.all.emplace_back(std::move(b));
  ends.more.emplace(3, std::make_pair(std::move(d), 7));
  Process worker{options(),
                 [](const Ends& given, const std::unique_ptr<Connection>& last) {
                   given.all[1]->send(1);
                   given.more.at(3).first.send(2);
                   last->send(3);
                 },
                 std::move(ends), std::make_unique<Connection>(std::move(f))};
  worker.start();
  EXPECT_EQ(a.recv<int>(), 1);
  EXPECT_EQ(c.recv<int>(), 2);
  EXPECT_EQ(e.recv<int>(), 3);
  worker.join();
  EXPECT_THROW((void)e.recv<int>(), EndOfStream);
}

TEST_P(ConnectionInProcessesTest, TheDeathOfTheParentIsAnEnd) {
  auto [in, out] = Pipe(false);
  os_test::PlainChild parent{[&, &in = in, &out = out] {
    in.close();
    auto [ours, theirs] = Pipe();
    Process worker{options(), tell_of_the_end, std::move(theirs), std::move(out)};
    worker.start();
    ::raise(SIGKILL);
  }};
  (void)parent.wait();
  out.close();
  EXPECT_EQ(in.recv<std::string>(), "the end");
  EXPECT_THROW((void)in.recv<int>(), EndOfStream);
}

const Connection* in_a_global = nullptr;

TEST(ConnectionInForkedProcessesTest, OneThatItWasNotGivenIsClosedThere) {
  auto [a, b] = Pipe();
  auto [in, out] = Pipe(false);
  in_a_global = &b;
  Process child{{.start_method = multiproc::StartMethod::fork},
                [](const Connection& told) {
                  try {
                    in_a_global->send(1);
                  } catch (const InvalidState& error) {
                    told.send(in_a_global->closed() ? std::string(error.what()) : "open");
                  }
                },
                std::move(out)};
  child.start();
  EXPECT_NE(in.recv<std::string>().find("pass it as one"), std::string::npos);
  child.join();
  b.send(2);
  EXPECT_EQ(a.recv<int>(), 2);
}

TEST(ConnectionInForkedProcessesTest, ALambdaWithCapturesHasAllButTheOppositeOfWhatItWasGiven) {
  Pipe captured;
  auto [a, b] = Pipe();
  Process child{{.start_method = multiproc::StartMethod::fork},
                [&captured, &a = a](const Connection& mine) {
                  captured.second.send(a.closed());
                  try {
                    (void)mine.recv<int>();
                  } catch (const EndOfStream&) {
                    captured.second.send(true);
                  }
                },
                std::move(b)};
  child.start();
  EXPECT_TRUE(captured.first.recv<bool>());
  a.close();
  EXPECT_TRUE(captured.first.recv<bool>());
  child.join();
}

// Blocks that were under way when it died are the kernel's: a sender is never left waiting for them.
TEST(ConnectionTest, AReceiverThatDiesWithBlocksDoesNotStopTheSender) {
  auto [a, b] = Pipe();
  for (int round = 0; round < 3; ++round) {
    os_test::PlainChild reader{[&b = b] {
      for (int i = 0; i < 3; ++i) (void)b.recv_bytes();
      ::raise(SIGKILL);
    }};
    for (unsigned i = 0; i < 3; ++i) a.send_bytes(pattern(kLarge, i));
    (void)reader.wait();
  }
  for (unsigned i = 0; i < 4; ++i) a.send_bytes(pattern(kLarge, i));
  for (unsigned i = 0; i < 4; ++i) EXPECT_EQ(b.recv_bytes(), pattern(kLarge, i));
}

}  // namespace
