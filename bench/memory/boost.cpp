// SPDX-License-Identifier: MIT
//
// Boost.Interprocess's own: containers in a managed segment, its mutex around each operation. Not safe against a kill.

#include <functional>
#include <utility>

#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/anonymous_shared_memory.hpp>
#include <boost/interprocess/containers/map.hpp>
#include <boost/interprocess/containers/vector.hpp>
#include <boost/interprocess/managed_external_buffer.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/interprocess/sync/scoped_lock.hpp>

#include <benchmark/benchmark.h>

#include "memory/workload.hpp"

namespace {

using namespace memory_bench;
namespace bip = boost::interprocess;

template <class T>
using Allocator = bip::allocator<T, bip::managed_external_buffer::segment_manager>;

struct Segment {
  bip::mapped_region region = bip::anonymous_shared_memory(std::size_t{64} << 20);
  bip::managed_external_buffer buffer{bip::create_only, region.get_address(), region.get_size()};
  bip::interprocess_mutex* mutex = buffer.construct<bip::interprocess_mutex>(bip::anonymous_instance)();
};

void push_back_boost(benchmark::State& state) {
  Segment segment;
  using Vector = bip::vector<std::uint32_t, Allocator<std::uint32_t>>;
  auto& vector = *segment.buffer.construct<Vector>("vector")(segment.buffer.get_segment_manager());
  for (auto _ : state) {
    vector.clear();
    for (std::uint32_t i = 0; i < keys(); ++i) {
      const bip::scoped_lock<bip::interprocess_mutex> held(*segment.mutex);
      vector.push_back(key_of(i));
    }
  }
  bool ok = vector.size() == keys();
  for (std::uint32_t i = 0; ok && i < keys(); ++i) ok = vector[i] == key_of(i);
  if (!ok) state.SkipWithError("the vector is wrong");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(keys()));
}
BENCHMARK(push_back_boost);

void insert_boost(benchmark::State& state) {
  Segment segment;
  using Pair = std::pair<const std::uint32_t, std::uint32_t>;
  using Map = bip::map<std::uint32_t, std::uint32_t, std::less<>, Allocator<Pair>>;
  auto& map = *segment.buffer.construct<Map>("map")(std::less<>{}, segment.buffer.get_segment_manager());
  for (auto _ : state) {
    map.clear();
    for (std::uint32_t i = 0; i < keys(); ++i) {
      const bip::scoped_lock<bip::interprocess_mutex> held(*segment.mutex);
      map.emplace(key_of(i), i);
    }
  }
  bool ok = map.size() == keys();
  for (std::uint32_t i = 0; ok && i < keys(); ++i) ok = map.at(key_of(i)) == i;
  if (!ok) state.SkipWithError("the map is wrong");
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(keys()));
}
BENCHMARK(insert_boost);

}  // namespace
