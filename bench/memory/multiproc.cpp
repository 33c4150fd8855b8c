// SPDX-License-Identifier: MIT

#include <benchmark/benchmark.h>

#include <multiproc/shm/shared_memory.hpp>
#include <multiproc/sync/array.hpp>
#include <multiproc/sync/shared_map.hpp>
#include <multiproc/sync/shared_vector.hpp>
#include <multiproc/sync/value.hpp>

#include "memory/workload.hpp"

namespace {

using namespace memory_bench;

void anonymous_multiproc(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  bool ok = true;
  for (auto _ : state) {
    auto block = multiproc::SharedMemory::anonymous(size);
    ok &= is_one_memory(block.bytes(), block.bytes());
  }
  if (!ok) state.SkipWithError("the block is wrong");
}
BENCHMARK(anonymous_multiproc)->Arg(kPage)->Arg(kMebibyte);

void named_multiproc(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  bool ok = true;
  for (auto _ : state) {
    auto block = multiproc::SharedMemory::create("multiproc-bench", size);
    auto attached = multiproc::SharedMemory::open("multiproc-bench");
    ok &= is_one_memory(block.bytes(), attached.bytes());
    block.unlink();
  }
  if (!ok) state.SkipWithError("the block is wrong");
}
BENCHMARK(named_multiproc)->Arg(kPage)->Arg(kMebibyte);

void increment_multiproc(benchmark::State& state) {
  multiproc::Value<std::int64_t> value(0);
  for (auto _ : state) value.with([](std::int64_t& n) { ++n; });
  if (value.get() != static_cast<std::int64_t>(state.iterations())) state.SkipWithError("the count is wrong");
}
BENCHMARK(increment_multiproc);

void copy_multiproc(benchmark::State& state) {
  multiproc::Array<std::byte> array(size_of_array());
  copy_to(state, {array.data(), array.size()});
}
BENCHMARK(copy_multiproc);

void push_back_multiproc(benchmark::State& state) {
  multiproc::shared_vector<std::uint32_t> vector;
  for (auto _ : state) {
    vector.clear();
    for (std::uint32_t i = 0; i < keys(); ++i) vector.push_back(key_of(i));
  }
  bool ok = vector.size() == keys();
  for (std::uint32_t i = 0; ok && i < keys(); ++i) ok = vector[i] == key_of(i);
  if (!ok) state.SkipWithError("the vector is wrong");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(keys()));
}
BENCHMARK(push_back_multiproc);

void insert_multiproc(benchmark::State& state) {
  multiproc::shared_map<std::uint32_t, std::uint32_t> map;
  for (auto _ : state) {
    map.clear();
    for (std::uint32_t i = 0; i < keys(); ++i) map.insert(key_of(i), i);
  }
  bool ok = map.size() == keys();
  for (std::uint32_t i = 0; ok && i < keys(); ++i) ok = map.at(key_of(i)) == i;
  if (!ok) state.SkipWithError("the map is wrong");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(keys()));
}
BENCHMARK(insert_multiproc);

const bench::Ratio anonymous{"anonymous_multiproc", "anonymous_raw", bench::at_most(1.3)};
const bench::Ratio named{"named_multiproc", "named_raw", bench::at_most(0)};
const bench::Ratio named_python{"named_python", "named_multiproc", bench::at_most(0)};
const bench::Ratio increment{"increment_multiproc", "increment_robust", bench::at_most(0)};
const bench::Ratio increment_python{"increment_python", "increment_multiproc", bench::at_most(0)};
const bench::Ratio copy{"copy_multiproc", "copy_heap", bench::speed()};
const bench::Ratio copy_python{"copy_multiproc", "copy_python", bench::speed()};
const bench::Ratio push_back{"push_back_multiproc", "push_back_boost", bench::at_most(0)};
const bench::Ratio insert{"insert_multiproc", "insert_boost", bench::at_most(0)};

}  // namespace
