// SPDX-License-Identifier: MIT
//
// roundtrip_latency/workload.hpp: a message there and back, between two processes. Time is that of a round trip.
//
// Argument 0: bytes of the message. Argument 1: 0, each process has a CPU of its own; 1, both are on one.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include <benchmark/benchmark.h>

#include "support/bench.hpp"
#include "support/child.hpp"

namespace roundtrip_bench {

inline std::size_t rounds() {
  return bench::is_quick() ? 200 : 5'000;
}

/// `there_and_back(number)`: false: the answer was wrong. `answer()`: false: it failed. Each is called once a round.
template <class There, class Back>
void time_rounds(benchmark::State& state, There there_and_back, Back answer, const std::function<void(int)>& keep) {
  const std::size_t count = rounds();
  for ([[maybe_unused]] auto _ : state) {
    const bench::FirstCpu stay;
    bench::Child child(state.range(1) == 0 ? 1 : 0, [&] {
      keep(1);
      for (std::size_t i = 0; i < count + 1; ++i) {
        if (!answer()) return false;
      }
      return true;
    });
    bench::hold_on_cpu(0);
    keep(0);
    bool ok = there_and_back(0);  // the child is there
    const auto began = std::chrono::steady_clock::now();
    for (std::size_t i = 1; i < count + 1; ++i) ok &= there_and_back(i);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    state.SetIterationTime(took.count() / static_cast<double>(count));
    if (!child.ended_well() || !ok) return state.SkipWithError("a message was not what was sent");
  }
}

/// Bytes through a Channel of support/message_channels.hpp.
template <class Channel>
void bytes(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  Channel channel(size);
  std::vector<std::byte> there(size);
  std::vector<std::byte> back(size);
  time_rounds(
      state,
      [&](std::size_t number) {
        std::memcpy(there.data(), &number, sizeof number);
        if (!channel.send(0, there) || !channel.receive(0, back)) return false;
        ++number;
        return std::memcmp(back.data(), &number, sizeof number) == 0;
      },
      [&] {
        if (!channel.receive(1, back)) return false;
        std::size_t number = 0;
        std::memcpy(&number, back.data(), sizeof number);
        ++number;
        std::memcpy(back.data(), &number, sizeof number);
        return channel.send(1, back);
      },
      [&](int end) { channel.keep(end); });
}

}  // namespace roundtrip_bench
