// SPDX-License-Identifier: MIT

#include <array>
#include <string>

#include "roundtrip_latency/workload.hpp"
#include "support/message_channels.hpp"

namespace {

using roundtrip_bench::bytes;

struct Packet {
  std::array<std::size_t, 8> words{};  // 64 bytes
};

// A value instead of bytes.
void value(benchmark::State& state) {
  multiproc::Pipe pipe;
  Packet packet;
  roundtrip_bench::time_rounds(
      state,
      [&](std::size_t number) {
        packet.words[0] = number;
        pipe.first.send(packet);
        packet = pipe.first.recv<Packet>();
        return packet.words[0] == number + 1;
      },
      [&] {
        Packet got = pipe.second.recv<Packet>();
        ++got.words[0];
        pipe.second.send(got);
        return true;
      },
      [&](int end) { (end == 0 ? pipe.second : pipe.first).close(); });
}

void text(benchmark::State& state) {
  multiproc::Pipe pipe;
  roundtrip_bench::time_rounds(
      state,
      [&](std::size_t number) {
        std::string there(64, static_cast<char>('a' + number % 26));
        pipe.first.send(there);
        return pipe.first.recv<std::string>() == there + "!";
      },
      [&] {
        pipe.second.send(pipe.second.recv<std::string>() + "!");
        return true;
      },
      [&](int end) { (end == 0 ? pipe.second : pipe.first).close(); });
}

BENCHMARK(value)->Name("roundtrip_multiproc")->ArgsProduct({{64}, {0, 1}})->UseManualTime()->Iterations(1);
BENCHMARK(text)->Name("roundtrip_multiproc_string")->ArgsProduct({{64}, {0, 1}})->UseManualTime()->Iterations(1);
BENCHMARK(bytes<bench::PipeChannel>)
    ->Name("roundtrip_multiproc_bytes")
    ->ArgsProduct({{64}, {0, 1}})
    ->UseManualTime()
    ->Iterations(1);

const bench::Ratio value_goal{"roundtrip_multiproc", "roundtrip_raw_seqpacket", bench::at_most(1.10)};
const bench::Ratio bytes_goal{"roundtrip_multiproc_bytes", "roundtrip_raw_seqpacket", bench::at_most(1.10)};
const bench::Ratio python_goal{"roundtrip_multiproc_string", "roundtrip_python", bench::speed()};

}  // namespace
