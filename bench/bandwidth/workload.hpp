// SPDX-License-Identifier: MIT
//
// bandwidth/workload.hpp: messages one way, one after the other, to a process on another CPU. Time is per message.
//
// Argument: bytes of the message. The receiver looks at the number at the beginning and at the end of each.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include <benchmark/benchmark.h>

#include "support/bench.hpp"
#include "support/child.hpp"

namespace bandwidth_bench {

/// How many messages of this size are one measurement.
inline std::size_t messages_of(std::size_t size) {
  // Of the largest more, for the memory that they go through is touched for the first time in the first three.
  const std::size_t bytes = bench::is_quick()  ? std::size_t{1} << 18
                            : size > (1 << 24) ? std::size_t{1} << 31
                                               : std::size_t{1} << 29;
  const std::size_t most = bench::is_quick() ? 200 : 100'000;
  return std::clamp<std::size_t>(bytes / size, 4, most);
}

inline void stamp(std::span<std::byte> message, std::uint32_t number) {
  std::memcpy(message.data(), &number, sizeof number);
  std::memcpy(message.data() + message.size() - sizeof number, &number, sizeof number);
}
inline bool has_stamp(std::span<const std::byte> message, std::uint32_t number) {
  return std::memcmp(message.data(), &number, sizeof number) == 0 &&
         std::memcmp(message.data() + message.size() - sizeof number, &number, sizeof number) == 0;
}

/// `send(number)` and `receive(number)`, false: wrong; the first message is not timed.
inline void time_messages(benchmark::State& state, std::size_t size, const std::function<bool(std::uint32_t)>& send,
                          const std::function<bool(std::uint32_t)>& receive, const std::function<void(int)>& keep) {
  const auto count = static_cast<std::uint32_t>(messages_of(size));
  for ([[maybe_unused]] auto _ : state) {
    const bench::FirstCpu stay;
    bench::Child child(1, [&] {
      keep(1);
      bool ok = true;
      for (std::uint32_t i = 0; i < count + 1; ++i) ok &= receive(i);
      return ok;
    });
    bench::hold_on_cpu(0);
    keep(0);
    bool ok = send(0);
    const auto began = std::chrono::steady_clock::now();
    for (std::uint32_t i = 1; i < count + 1; ++i) ok &= send(i);
    ok &= child.ended_well();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    state.SetIterationTime(took.count() / static_cast<double>(count));
    if (!ok) return state.SkipWithError("a message was not what was sent");
  }
  state.counters["bytes/s"] =
      benchmark::Counter(static_cast<double>(size), benchmark::Counter::kIsRate, benchmark::Counter::kIs1024);
}

/// Bytes through a Channel of support/message_channels.hpp.
template <class Channel>
void bytes(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  Channel channel(size);
  std::vector<std::byte> sent(size, std::byte{1});
  std::vector<std::byte> got(size, std::byte{1});
  time_messages(
      state, size,
      [&](std::uint32_t number) {
        stamp(sent, number);
        return channel.send(0, sent);
      },
      [&](std::uint32_t number) { return channel.receive(1, got) && has_stamp(got, number); },
      [&](int end) { channel.keep(end); });
}

#define MULTIPROC_BANDWIDTH(function, name, ...) \
  BENCHMARK(function)->Name(name)->ArgsProduct({{__VA_ARGS__}})->UseManualTime()->Iterations(1)

constexpr std::int64_t kKibi = 1 << 10;
constexpr std::int64_t kMebi = 1 << 20;

}  // namespace bandwidth_bench
