// SPDX-License-Identifier: MIT
//
// memory/workload.hpp: what all contenders of this workload do alike: how much, and whether it came out right.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <benchmark/benchmark.h>

#include "support/bench.hpp"

namespace memory_bench {

inline constexpr std::int64_t kPage = 4096;
inline constexpr std::int64_t kMebibyte = 1 << 20;

inline std::size_t size_of_array() {
  return static_cast<std::size_t>((bench::is_quick() ? 1 : 64) * kMebibyte);
}

/// Writes to the first and last byte of a new block through one mapping and looks at them through the other.
inline bool is_one_memory(std::span<std::byte> here, std::span<std::byte> there) {
  if (here.empty() || there.size() < here.size()) return false;
  here.front() = std::byte{1};
  here.back() = std::byte{2};
  return there.front() == std::byte{1} && there[here.size() - 1] == std::byte{2};
}

/// Copies a large buffer to `target`, which has been written to before: no page is new.
inline void copy_to(benchmark::State& state, std::span<std::byte> target) {
  std::vector<std::byte> source(target.size());
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<std::byte>(i * 31 % 251);
  std::memset(target.data(), 0, target.size());
  for (auto _ : state) {
    std::memcpy(target.data(), source.data(), source.size());
    benchmark::ClobberMemory();
  }
  if (std::memcmp(target.data(), source.data(), source.size()) != 0) state.SkipWithError("the copy is wrong");
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(source.size()));
}

/// Keys in an order that is not theirs, each once.
inline std::uint32_t key_of(std::uint32_t index) {
  return index * 2654435761U;
}
inline std::uint32_t keys() {
  return bench::is_quick() ? 1000 : 100'000;
}

}  // namespace memory_bench
