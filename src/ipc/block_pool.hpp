// SPDX-License-Identifier: MIT
//
// src/ipc/block_pool.hpp: the blocks of shared memory that one end of a connection uses again and again.
//
// The first touch of a page costs more than copying it, so a block that was read is written again. Its head has one
// word: whose it is. The sender takes what is free, and the receiver frees what it has read. Nobody has to know who
// died with one: a sender forgets blocks that were received and never came back, and the kernel frees what nobody has.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <csignal>  // pid_t

#include <multiproc/deadline.hpp>
#include <multiproc/ipc/detail/channel.hpp>
#include <multiproc/os/fd.hpp>
#include <multiproc/shm/segment.hpp>

namespace multiproc::detail {

/// Of one process's object for one end. A forked child begins with none.
class BlockPool {
 public:
  BlockPool() = default;
  BlockPool(const BlockPool&) = delete;
  BlockPool& operator=(const BlockPool&) = delete;
  ~BlockPool() = default;

  /// A block with room for `size` bytes. Waits while as many as are allowed are under way; `socket` says whether they
  /// still are. Nothing: the deadline passed. SystemError: no memory. Unsupported: no memfd.
  std::optional<Block> take(std::size_t size, int socket, Deadline deadline);

  /// The block that `memory` leads to, as its receiver. DecodeError: it is none.
  Block receive(os::Fd memory);

 private:
  struct Lists {
    std::vector<std::shared_ptr<Segment>> made;      // by this end; the oldest first
    std::vector<std::shared_ptr<Segment>> received;  // kept mapped; the last used last
  };

  void begin_anew_in_a_child(Lists& dropped);
  bool keep(const std::shared_ptr<Segment>& segment);

  Lists lists_;
  pid_t owner_ = 0;
};

}  // namespace multiproc::detail
