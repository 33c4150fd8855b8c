// SPDX-License-Identifier: MIT

#include <multiproc/ipc/wait.hpp>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/ipc/pipe.hpp>
#include <multiproc/os/pipe.hpp>
#include <multiproc/process/process.hpp>

#include "os/os_test.hpp"
#include "support/every_start_method.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Connection;
using multiproc::Deadline;
using multiproc::Pipe;
using multiproc::Process;
using multiproc::wait;
using multiproc::Waitable;
using Clock = std::chrono::steady_clock;
using Places = std::vector<std::size_t>;

TEST(WaitTest, AllThatAreReadyAreReturnedInOrder) {
  auto [a, b] = Pipe();
  auto [c, d] = Pipe();
  auto raw = multiproc::os::make_pipe().or_throw("a pipe");

  EXPECT_EQ(wait({b, d, raw.read.get()}, Deadline::now()), Places{});
  c.send(1);
  EXPECT_EQ(wait({b, d, raw.read.get()}), Places{1});
  ASSERT_EQ(::write(raw.write.get(), "x", 1), 1);
  EXPECT_EQ(wait({b, d, raw.read.get(), d}), (Places{1, 2, 3}));
  a.close();
  EXPECT_EQ(wait({b, d, raw.read.get()}), (Places{0, 1, 2})) << "an end is something to hear of";
}

TEST(WaitTest, ADeadlineBoundsIt) {
  auto [a, b] = Pipe();
  const auto began = Clock::now();
  EXPECT_EQ(wait({a, b}, 30ms), Places{});
  EXPECT_GE(Clock::now() - began, 30ms);
  EXPECT_EQ(wait({a, b}, -1h), Places{});
  const os_test::SignalStorm storm;
  EXPECT_EQ(wait({a, b}, 30ms), Places{});
  EXPECT_GE(Clock::now() - began, 60ms);
}

TEST(WaitTest, NothingToWaitForIsNoWait) {
  EXPECT_EQ(wait({}), Places{});
  EXPECT_EQ(wait(std::vector<Waitable>{}, 1h), Places{});
}

TEST(WaitTest, AThousandAtOnce) {
  std::vector<Pipe> pipes;
  std::vector<Waitable> all;
  for (int i = 0; i < 500; ++i) pipes.emplace_back();
  for (const Pipe& pipe : pipes) {
    all.emplace_back(pipe.first);
    all.emplace_back(pipe.second);
  }
  std::thread later([&] { pipes[333].first.send(1); });
  EXPECT_EQ(wait(all), Places{667});
  later.join();
}

TEST(WaitTest, ABadDescriptorIsAnErrorAndNamed) {
  auto [a, b] = Pipe();
  a.send(1);
  for (const int bad : {-1, 3999}) {
    try {
      (void)wait({b, bad}, 1h);
      ADD_FAILURE();
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), EBADF);
      EXPECT_NE(std::string(error.what()).find("object 1"), std::string::npos) << error.what();
    }
  }
  EXPECT_EQ(b.recv<int>(), 1);
}

class WaitForProcessesTest : public support::EveryStartMethod {};
MULTIPROC_EVERY_START_METHOD(WaitForProcessesTest);

TEST_P(WaitForProcessesTest, TheEndOfAProcessIsWaitedForAsAMessageIs) {
  auto [ours, theirs] = Pipe();
  auto [go, gone] = Pipe();
  Process worker{options(),
                 [](const Connection& parent, const Connection& sign) {
                   parent.send(1);
                   (void)sign.recv<int>();
                 },
                 std::move(theirs), std::move(gone)};
  worker.start();

  EXPECT_EQ(wait({worker, ours}), Places{1});
  EXPECT_EQ(ours.recv<int>(), 1);
  EXPECT_EQ(wait({worker, ours}, Deadline::now()), Places{});
  go.send(1);
  EXPECT_EQ(wait({worker}), Places{0});
  worker.join();
  EXPECT_EQ(wait({worker, ours}), (Places{0, 1}));
}

}  // namespace
