// SPDX-License-Identifier: MIT
//
// support/message_channels.hpp: ways to carry messages between two forked processes, all of one shape:
//
//     struct Channel {
//       explicit Channel(std::size_t most);           // before the fork; no message is longer than that
//       void keep(int end);                           // after it: 0 or 1, and lets go of the other
//       bool send(int end, std::span<const std::byte> message);
//       bool receive(int end, std::span<std::byte> buffer);   // a message as long as the buffer
//     };
#pragma once

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>

#include <sys/socket.h>
#include <unistd.h>

#include <boost/interprocess/ipc/message_queue.hpp>

#include <multiproc/ipc/pipe.hpp>

namespace bench {

/// multiproc's Pipe, bytes into the caller's buffer.
class PipeChannel {
 public:
  explicit PipeChannel(std::size_t /*most*/) {}

  void keep(int end) { (end == 0 ? pipe_.second : pipe_.first).close(); }
  bool send(int end, std::span<const std::byte> message) {
    at(end).send_bytes(message);
    return true;
  }
  bool receive(int end, std::span<std::byte> buffer) { return at(end).recv_bytes_into(buffer) == buffer.size(); }

  multiproc::Connection& at(int end) { return end == 0 ? pipe_.first : pipe_.second; }

 private:
  multiproc::Pipe pipe_;
};

/// A socketpair; a stream is read until the message is whole, packets are as large as the kernel lets them be.
template <int kType>
class SocketChannel {
 public:
  explicit SocketChannel(std::size_t most) : piece_(kType == SOCK_SEQPACKET ? std::min(most, kLargestPacket) : most) {
    if (::socketpair(AF_UNIX, kType | SOCK_CLOEXEC, 0, ends_.data()) != 0) throw std::runtime_error("socketpair");
  }
  SocketChannel(const SocketChannel&) = delete;
  SocketChannel& operator=(const SocketChannel&) = delete;
  ~SocketChannel() {
    for (const int fd : ends_) {
      if (fd >= 0) ::close(fd);
    }
  }

  void keep(int end) {
    int& other = ends_[end == 0 ? 1 : 0];
    ::close(other);
    other = -1;
  }
  bool send(int end, std::span<const std::byte> message) {
    while (!message.empty()) {
      const auto some = message.first(std::min(message.size(), piece_));
      const ssize_t sent = ::send(ends_[static_cast<std::size_t>(end)], some.data(), some.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      message = message.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }
  bool receive(int end, std::span<std::byte> buffer) {
    while (!buffer.empty()) {
      const ssize_t got = ::recv(ends_[static_cast<std::size_t>(end)], buffer.data(), buffer.size(), 0);
      if (got <= 0) return false;
      buffer = buffer.subspan(static_cast<std::size_t>(got));
    }
    return true;
  }

 private:
  static constexpr std::size_t kLargestPacket = 200'000;  // under SO_SNDBUF's default

  std::size_t piece_;
  std::array<int, 2> ends_{-1, -1};
};

/// Two pipe(2)s, one each way.
class RawPipeChannel {
 public:
  explicit RawPipeChannel(std::size_t /*most*/) {
    if (::pipe(to_second_.data()) != 0 || ::pipe(to_first_.data()) != 0) throw std::runtime_error("pipe");
  }
  RawPipeChannel(const RawPipeChannel&) = delete;
  RawPipeChannel& operator=(const RawPipeChannel&) = delete;
  ~RawPipeChannel() {
    for (const int fd : {to_second_[0], to_second_[1], to_first_[0], to_first_[1]}) {
      if (fd >= 0) ::close(fd);
    }
  }

  void keep(int end) {
    for (int* fd : end == 0 ? std::array{&to_second_[0], &to_first_[1]} : std::array{&to_second_[1], &to_first_[0]}) {
      ::close(*fd);
      *fd = -1;
    }
  }
  bool send(int end, std::span<const std::byte> message) {
    while (!message.empty()) {
      const ssize_t sent = ::write(end == 0 ? to_second_[1] : to_first_[1], message.data(), message.size());
      if (sent <= 0) return false;
      message = message.subspan(static_cast<std::size_t>(sent));
    }
    return true;
  }
  bool receive(int end, std::span<std::byte> buffer) {
    while (!buffer.empty()) {
      const ssize_t got = ::read(end == 0 ? to_first_[0] : to_second_[0], buffer.data(), buffer.size());
      if (got <= 0) return false;
      buffer = buffer.subspan(static_cast<std::size_t>(got));
    }
    return true;
  }

 private:
  std::array<int, 2> to_second_{-1, -1};
  std::array<int, 2> to_first_{-1, -1};
};

/// Two boost::interprocess::message_queues, one each way.
class BoostQueueChannel {
 public:
  explicit BoostQueueChannel(std::size_t most) {
    for (int i : {0, 1}) {
      names_[static_cast<std::size_t>(i)] = "multiproc-bench-" + std::to_string(::getpid()) + "-" + std::to_string(i);
      const char* const name = names_[static_cast<std::size_t>(i)].c_str();
      Queue::remove(name);
      const std::size_t deep = most > (1 << 20) ? 2 : 64;
      queues_[static_cast<std::size_t>(i)] =
          std::make_unique<Queue>(boost::interprocess::create_only, name, deep, most);
      Queue::remove(name);
    }
  }

  void keep(int /*end*/) {}
  bool send(int end, std::span<const std::byte> message) {
    queues_[static_cast<std::size_t>(end)]->send(message.data(), message.size(), 0);
    return true;
  }
  bool receive(int end, std::span<std::byte> buffer) {
    Queue::size_type size = 0;
    unsigned priority = 0;
    queues_[end == 0 ? 1 : 0]->receive(buffer.data(), buffer.size(), size, priority);
    return size == buffer.size();
  }

 private:
  using Queue = boost::interprocess::message_queue;
  std::array<std::string, 2> names_;
  std::array<std::unique_ptr<Queue>, 2> queues_;
};

}  // namespace bench
