// SPDX-License-Identifier: MIT
//
// Connection, killed after each instruction: what a sender had sent is there and whole, nobody hangs, and the ones that
// are left go on with the same ends.

#include <multiproc/ipc/connection.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include <multiproc/ipc/pipe.hpp>

#include "support/kill_step.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::Deadline;
using multiproc::Pipe;
using support::Findings;
using support::Inherited;
using support::KillAt;
using support::KillStage;
using support::KillStep;

struct Notes {
  std::atomic<int> sent{0};      // by the victim, to the end
  std::atomic<int> received{0};  // by the victim, to the end
  std::atomic<int> begun{0};     // by the victim: one of them may be gone with it
  std::atomic<int> arrived{0};   // at partners, of whomever
  std::atomic<int> given{0};     // by partners
  std::atomic<int> torn{0};
};

struct State {
  std::size_t size = 0;
  Pipe pipe;
  Inherited<Notes> notes;

  std::vector<std::byte> message() const { return std::vector<std::byte>(size, std::byte{0x5a}); }

  void send_as_victim() {
    pipe.first.send_bytes(message());
    ++notes->sent;
  }
  void receive_as_victim() {
    ++notes->begun;
    look(pipe.second.recv_bytes());
    ++notes->received;
  }
  void give() {
    pipe.first.send_bytes(message());
    ++notes->given;
  }
  bool take(Deadline deadline) {
    const auto got = pipe.second.recv_bytes(deadline);
    if (!got) return false;
    look(*got);
    ++notes->arrived;
    return true;
  }
  void look(const std::vector<std::byte>& got) {
    const auto sent = message();
    notes->torn += got.size() == sent.size() && std::memcmp(got.data(), sent.data(), sent.size()) == 0 ? 0 : 1;
  }
  void take_all() {
    while (take(Deadline::now())) {
    }
  }
};

void check(State& state, Findings& found) {
  state.take_all();
  const Notes& notes = *state.notes;
  if (notes.torn != 0) found.corrupt("a message is not what was sent");
  const int whole = notes.sent + notes.given - notes.received;
  const int gone_with_a_receiver = notes.begun - notes.received;
  if (notes.arrived < whole - gone_with_a_receiver) found.lost("a message that was sent did not arrive");
  const int perhaps_sent = 1;  // by a sender that was killed before it could note it
  if (notes.arrived > whole + perhaps_sent) found.corrupt("a message arrived twice");
}

KillStep<State> steps(const std::string& name, std::size_t size) {
  KillStep<State> step{.name = name,
                       .setup =
                           [size] {
                             return State{size, Pipe(), Inherited<Notes>()};
                           },
                       .operation = {}};
  step.check = check;
  return step;
}

void give_and_take(State& state) {
  state.give();
  if (!state.take(10s)) FAIL() << "what was just sent did not arrive";
}

const KillStage<State> comes_after{.name = "partner comes after", .after = give_and_take};
const KillStage<State> blocked_in_recv{.name = "partner is blocked in recv",
                                       .blocked = [](State& state) { (void)state.take(10s); },
                                       .after =
                                           [](State& state) {
                                             state.give();  // one for each of the two
                                             give_and_take(state);
                                           }};

// Sizes of the three ways: copied together, apart, and through a block.
constexpr std::size_t kSmall = 64;
constexpr std::size_t kMiddle = 8'000;
constexpr std::size_t kLarge = 33'000;

class ConnectionKillTest : public testing::TestWithParam<std::size_t> {
 protected:
  static std::string named(const std::string& operation) {
    return operation + " of " + std::to_string(GetParam()) + " bytes";
  }
};
INSTANTIATE_TEST_SUITE_P(Sizes, ConnectionKillTest, testing::Values(kSmall, kMiddle, kLarge));

TEST_P(ConnectionKillTest, Send) {
  auto send = steps(named("Connection::send"), GetParam());
  send.operation = [](State& state) { state.send_as_victim(); };
  send.stages = {comes_after, blocked_in_recv};
  send.run();
}

TEST_P(ConnectionKillTest, SendAgain) {
  auto send = steps(named("Connection::send again"), GetParam());
  send.prepare = [](State& state) { state.send_as_victim(); };
  send.operation = [](State& state) { state.send_as_victim(); };
  send.stages = {{.name = "partner received the first", .after = [](State& state) {
                    state.take_all();
                    give_and_take(state);
                  }}};
  send.run();
}

TEST_P(ConnectionKillTest, SendWhereThereIsNoRoom) {
  auto send = steps(named("Connection::send without room"), GetParam());
  send.prepare = [](State& state) {
    while (state.pipe.first.send_bytes(state.message(), Deadline::now())) ++state.notes->sent;
  };
  send.operation = [](State& state) { state.send_as_victim(); };
  send.warm_up = [](State& state) { state.send_as_victim(); };
  send.stages = {{.name = "partner makes room",
                  .unblock = [](State& state) { (void)state.take(10s); },
                  .after =
                      [](State& state) {
                        state.take_all();
                        give_and_take(state);
                      }}};
  send.run();
}

TEST_P(ConnectionKillTest, Recv) {
  auto recv = steps(named("Connection::recv"), GetParam());
  recv.prepare = [](State& state) {
    state.send_as_victim();
    state.send_as_victim();
  };
  recv.operation = [](State& state) { state.receive_as_victim(); };
  recv.stages = {comes_after};
  recv.run();
}

TEST_P(ConnectionKillTest, RecvThatWaits) {
  auto recv = steps(named("Connection::recv that waits"), GetParam());
  recv.operation = [](State& state) { state.receive_as_victim(); };
  recv.warm_up = [](State& state) {
    state.send_as_victim();
    state.receive_as_victim();
  };
  recv.stages = {{.name = "partner sends",
                  .unblock =
                      [](State& state) {
                        state.give();
                        state.give();
                      },
                  .after = give_and_take}};
  recv.run();
}

TEST(ConnectionKillAtSystemCallsTest, AValueWithDescriptors) {
  auto send = steps("Connection::send with descriptors, at system calls", kSmall);
  send.operation = [](State& state) {
    auto [a, b] = Pipe();
    state.pipe.first.send(b);
    state.send_as_victim();
  };
  send.stages = {{.name = "partner comes after", .after = [](State& state) {
                    try {
                      if (state.pipe.second.poll()) state.pipe.second.recv<multiproc::Connection>().close();
                    } catch (const multiproc::DecodeError&) {
                      FAIL() << "half a message";
                    }
                    give_and_take(state);
                  }}};
  send.kill_at = KillAt::every_system_call;
  send.run();
}

}  // namespace
