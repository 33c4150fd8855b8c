// SPDX-License-Identifier: MIT
//
// The kernel's own, and Boost's queue.

#include "bandwidth/workload.hpp"
#include "support/message_channels.hpp"

namespace {

using bandwidth_bench::bytes;
using bandwidth_bench::kKibi;
using bandwidth_bench::kMebi;

MULTIPROC_BANDWIDTH(bytes<bench::SocketChannel<SOCK_SEQPACKET>>, "bandwidth_raw_seqpacket", 8, 64, kKibi, 16 * kKibi,
                    64 * kKibi, kMebi, 64 * kMebi);
MULTIPROC_BANDWIDTH(bytes<bench::SocketChannel<SOCK_STREAM>>, "bandwidth_raw_socketpair", 8, 64, kKibi, 16 * kKibi,
                    64 * kKibi, kMebi, 64 * kMebi);
MULTIPROC_BANDWIDTH(bytes<bench::RawPipeChannel>, "bandwidth_raw_pipe", 8, 64, kKibi, 16 * kKibi, 64 * kKibi, kMebi,
                    64 * kMebi);
MULTIPROC_BANDWIDTH(bytes<bench::BoostQueueChannel>, "bandwidth_boost_message_queue", 8, 64, kKibi, 16 * kKibi,
                    64 * kKibi, kMebi);

}  // namespace
