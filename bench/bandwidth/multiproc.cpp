// SPDX-License-Identifier: MIT

#include <string>
#include <utility>

#include <multiproc/shm/shared_memory.hpp>

#include "bandwidth/workload.hpp"
#include "support/message_channels.hpp"

namespace {

using bandwidth_bench::bytes;
using bandwidth_bench::kKibi;
using bandwidth_bench::kMebi;

MULTIPROC_BANDWIDTH(bytes<bench::PipeChannel>, "bandwidth_multiproc", 8, 64, kKibi, 16 * kKibi, 64 * kKibi, kMebi,
                    64 * kMebi);

// Values: an int, and the struct that Python's side sends as a tuple.
void integers(benchmark::State& state) {
  multiproc::Pipe pipe;
  bandwidth_bench::time_messages(
      state, sizeof(int),
      [&](std::uint32_t number) {
        pipe.first.send(static_cast<int>(number));
        return true;
      },
      [&](std::uint32_t number) { return pipe.second.recv<int>() == static_cast<int>(number); },
      [&](int end) { (end == 0 ? pipe.second : pipe.first).close(); });
}
MULTIPROC_BANDWIDTH(integers, "integers_multiproc", 4);

void raw_integers(benchmark::State& state) {
  bench::SocketChannel<SOCK_SEQPACKET> channel(sizeof(int));
  bandwidth_bench::time_messages(
      state, sizeof(int), [&](std::uint32_t number) { return channel.send(0, std::as_bytes(std::span(&number, 1))); },
      [&](std::uint32_t number) {
        std::uint32_t got = 0;
        return channel.receive(1, std::as_writable_bytes(std::span(&got, 1))) && got == number;
      },
      [&](int end) { channel.keep(end); });
}
MULTIPROC_BANDWIDTH(raw_integers, "integers_raw_seqpacket", 4);

struct Record {
  int number = 0;
  std::string name;
  std::vector<double> values;
};

void objects(benchmark::State& state) {
  multiproc::Pipe pipe;
  Record record{0, "a name of some length", {1, 2, 3, 4}};
  bandwidth_bench::time_messages(
      state, 64,
      [&](std::uint32_t number) {
        record.number = static_cast<int>(number);
        pipe.first.send(record);
        return true;
      },
      [&](std::uint32_t number) {
        const auto got = pipe.second.recv<Record>();
        return got.number == static_cast<int>(number) && got.name == record.name && got.values == record.values;
      },
      [&](int end) { (end == 0 ? pipe.second : pipe.first).close(); });
}
MULTIPROC_BANDWIDTH(objects, "objects_multiproc", 64);

// A block that is handed over as it is: its size does not matter.
void hand_over(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  multiproc::Pipe pipe;
  auto block = multiproc::SharedMemory::anonymous(size);
  bandwidth_bench::time_messages(
      state, 64 * kKibi,
      [&](std::uint32_t number) {
        bandwidth_bench::stamp(block.bytes(), 7);
        (void)number;
        pipe.first.send(block);
        return true;
      },
      [&](std::uint32_t) {
        auto got = pipe.second.recv<multiproc::SharedMemory>();
        return bandwidth_bench::has_stamp(got.bytes(), 7);
      },
      [&](int end) { (end == 0 ? pipe.second : pipe.first).close(); });
}
MULTIPROC_BANDWIDTH(hand_over, "hand_over_multiproc", kMebi, 64 * kMebi);

const bench::Ratio integers_goal{"integers_multiproc", "integers_raw_seqpacket", bench::speed_at_least(0.9)};
const bench::Ratio socket_goal{"bandwidth_multiproc", "bandwidth_raw_socketpair", bench::speed()};
const bench::Ratio packet_goal{"bandwidth_multiproc", "bandwidth_raw_seqpacket", bench::speed()};
const bench::Ratio pipe_goal{"bandwidth_multiproc", "bandwidth_raw_pipe", bench::speed()};
const bench::Ratio objects_goal{"objects_multiproc", "objects_python", bench::speed_at_least(3)};
const bench::Ratio bytes_goal{"bandwidth_multiproc", "bandwidth_python", bench::speed()};

}  // namespace
