// SPDX-License-Identifier: MIT
//
// The kernel's own, and Boost's queue.

#include "roundtrip_latency/workload.hpp"
#include "support/message_channels.hpp"

namespace {

using roundtrip_bench::bytes;

#define MULTIPROC_ROUNDTRIP(Channel, name) \
  BENCHMARK(bytes<Channel>)->Name(name)->ArgsProduct({{64}, {0, 1}})->UseManualTime()->Iterations(1)

MULTIPROC_ROUNDTRIP(bench::SocketChannel<SOCK_SEQPACKET>, "roundtrip_raw_seqpacket");
MULTIPROC_ROUNDTRIP(bench::SocketChannel<SOCK_STREAM>, "roundtrip_raw_socketpair");
MULTIPROC_ROUNDTRIP(bench::RawPipeChannel, "roundtrip_raw_pipe");
MULTIPROC_ROUNDTRIP(bench::BoostQueueChannel, "roundtrip_boost_message_queue");

}  // namespace
