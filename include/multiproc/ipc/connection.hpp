// SPDX-License-Identifier: MIT
//
// multiproc/ipc/connection.hpp: one end of a connection, through which values and messages go to the other end.
//
//     auto [ours, theirs] = mp::Pipe();
//     mp::Process worker{[](const mp::Connection& parent) { parent.send(parent.recv<int>() * 2); }, std::move(theirs)};
//     worker.start();
//     ours.send(21);
//     mp::println("{}", ours.recv<int>());
//
// A Connection comes from Pipe() (pipe.hpp). It keeps messages apart: what one send() sent, one recv() receives, the
// empty message included. Any Sendable goes through it, with the handles in it.
//
// Threads     Any number of threads and processes may use one end at once: messages are never mixed or torn. Each is
//             received by one of them.
// Order       Messages of one sender arrive in the order in which they were sent.
// Blocking    recv() waits for a message; send() for room: about 200 KB of small messages, or four large ones, may be
//             under way. A deadline bounds the whole call: when it has passed, nothing was sent and nothing is lost.
// Death       A message has been sent as a whole or not at all, whenever its sender is killed. Who has died at the
//             other end leaves what it sent; after that recv() throws EndOfStream. A receiver that is killed takes with
//             it the one message that it had begun to receive.
// Ends        An end is gone when no process has it any more. Process lets go of its arguments when it has started, so
//             an end that was moved into it is the child's alone.
// Fork        A forked child whose target is a function, or a lambda without captures, has the Connections among its
//             arguments and no others, as a spawned one does: so it holds no end that its parent or a sibling may close
//             or die with. Where that can't be told, for a lambda with captures, or an argument that can't be looked
//             into, it has copies of all but the opposite ends of those it was given: close() there what is not yours.
//             So has a child of fork(2) itself.
// Send        A Connection can be sent: the receiver gets the same end, and the sender keeps it until it is closed.
// Cost        One system call each way. Up to 32 KiB a message goes through the kernel's queue; a larger one through a
//             block of shared memory that is used again, written once by the sender and read once by the receiver. An
//             end keeps up to four such blocks, and up to 130 MiB, until it is closed.
// Refusals    Where the kernel gives no memfd (a seccomp filter), a message of more than 32 KiB is Unsupported.
// Stands on   encode.hpp, os/message.hpp, shm/segment.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <multiproc/deadline.hpp>
#include <multiproc/error.hpp>
#include <multiproc/ipc/detail/channel.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/ipc/sendable.hpp>

namespace multiproc {

/// The other end is gone, and everything that it sent has been received.
class EndOfStream : public Error {
 public:
  using Error::Error;
};

/// The message was longer than the buffer that was given for it. Nothing is lost: here it is.
class BufferTooShort : public Error {
 public:
  BufferTooShort(const std::string& text, std::vector<std::byte> message)
      : Error(text), message_(std::make_shared<const std::vector<std::byte>>(std::move(message))) {}

  std::span<const std::byte> message() const noexcept { return *message_; }

 private:
  std::shared_ptr<const std::vector<std::byte>> message_;  // a copy of an exception must not throw
};

/// The message that arrived holds another type than the one that was asked for. The connection is as it was, and the
/// message is here.
class TypeMismatch : public DecodeError {
 public:
  TypeMismatch(const std::string& text, std::uint64_t fingerprint, Encoded message)
      : DecodeError(text), fingerprint_(fingerprint), message_(std::make_shared<Encoded>(std::move(message))) {}

  /// Is it a T?
  template <class T>
  bool holds() const noexcept {
    return fingerprint_ == type_fingerprint<T>();
  }

  /// The T that it is, once where there are handles in it. Throws DecodeError.
  template <class T>
  T get() const {
    if (!holds<T>()) throw DecodeError("TypeMismatch::get(): the message holds another type");
    return decode<T>(message_->bytes, std::move(message_->fds));
  }

  /// Its bytes: of a message of send_bytes() what was sent, else an encoding.
  std::span<const std::byte> bytes() const noexcept { return message_->bytes; }

 private:
  std::uint64_t fingerprint_;
  std::shared_ptr<Encoded> message_;
};

class Connection {
 public:
  static constexpr std::size_t unlimited = std::numeric_limits<std::size_t>::max();

  /// Not connected to anything: closed(). What is moved from is that too.
  Connection() noexcept = default;
  Connection(Connection&& other) noexcept = default;
  Connection& operator=(Connection&& other) noexcept = default;
  ~Connection() = default;

  /// Sends `value`. Blocks while there is no room. SystemError with EPIPE: nobody has the other end any more. It has no
  /// part in SIGPIPE. SystemError: no memory, no descriptor. InvalidState: closed, or this end only receives.
  template <Sendable T>
  void send(const T& value) const {
    (void)send_value(value, Deadline::never());
  }
  /// The same until the deadline. False: it passed, and nothing was sent.
  template <Sendable T>
  [[nodiscard]] bool send(const T& value, Deadline deadline) const {
    return send_value(value, deadline);
  }

  /// The next message, which must be a T. Blocks until there is one. EndOfStream: there will be none. TypeMismatch: it
  /// holds another type (it was received, and is in the exception). DecodeError: it is none, or was made by hand.
  /// SystemError with EMFILE: the descriptors that it brought found no room; it is lost, the connection is not.
  /// InvalidState: closed, or this end only sends.
  template <Sendable T>
  T recv() const {
    detail::Message message;
    (void)receiver().receive(message, Deadline::never());
    return take<T>(message);
  }
  /// The same until the deadline; nullopt: it passed.
  template <Sendable T>
  std::optional<T> recv(Deadline deadline) const {
    detail::Message message;
    if (!receiver().receive(message, deadline)) return std::nullopt;
    return std::optional<T>(take<T>(message));
  }

  /// Sends these bytes as they are, of any number, 0 included.
  void send_bytes(std::span<const std::byte> bytes) const {
    (void)send_parts(detail::kRawBytes, {&bytes, 1}, Deadline::never());
  }
  [[nodiscard]] bool send_bytes(std::span<const std::byte> bytes, Deadline deadline) const {
    return send_parts(detail::kRawBytes, {&bytes, 1}, deadline);
  }
  void send_bytes(std::string_view text) const { send_bytes(std::as_bytes(std::span(text))); }
  [[nodiscard]] bool send_bytes(std::string_view text, Deadline deadline) const {
    return send_bytes(std::as_bytes(std::span(text)), deadline);
  }

  /// The next message, which must be one of send_bytes(). BufferTooShort: it has more than `most` bytes. All else as
  /// recv().
  std::vector<std::byte> recv_bytes(std::size_t most = unlimited) const;
  std::optional<std::vector<std::byte>> recv_bytes(Deadline deadline, std::size_t most = unlimited) const;

  /// The same into `buffer`. Returns its size. BufferTooShort: there is not room enough; the exception has it.
  std::size_t recv_bytes_into(std::span<std::byte> buffer) const;
  std::optional<std::size_t> recv_bytes_into(std::span<std::byte> buffer, Deadline deadline) const;

  /// Waits until recv() has something to say, a message or the end. False: not until the deadline.
  [[nodiscard]] bool poll(Deadline deadline = Deadline::now()) const;

  /// The descriptor, for poll(2) and event loops: readable when recv() has something to say. It belongs to this object;
  /// what is written to it or read from it by others tears the stream of messages.
  int fileno() const;

  bool readable() const noexcept { return !closed() && channel_->receives(); }
  bool writable() const noexcept { return !closed() && channel_->sends(); }
  bool closed() const noexcept { return channel_ == nullptr || channel_->socket() < 0; }

  /// Lets go of this end; again: nothing. Not while another thread uses the object.
  void close() noexcept { channel_.reset(); }

 private:
  friend struct Travel<Connection>;
  friend struct detail::ConnectionMaker;
  friend class detail::Given;

  explicit Connection(std::unique_ptr<detail::Channel> channel) noexcept : channel_(std::move(channel)) {}

  template <class T>
  bool send_value(const T& value, Deadline deadline) const {
    constexpr std::uint64_t fingerprint = type_fingerprint<T>();
    if constexpr (detail::flat<T> && detail::kind<T> != detail::Kind::empty) {
      const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(&value), sizeof(T));
      return send_parts(fingerprint, {&bytes, 1}, deadline);
    } else if constexpr (detail::flat_run<T>) {
      const std::uint64_t length = value.size();
      const std::span<const std::byte> parts[] = {
          {reinterpret_cast<const std::byte*>(&length), sizeof length},
          {reinterpret_cast<const std::byte*>(value.data()), detail::run_size(value) - sizeof length}};
      return send_parts(fingerprint, parts, deadline);
    } else {
      detail::Channel& channel = sender();
      detail::Room room;
      if (!channel.make_room(room, detail::size_hint(value), deadline)) return false;
      Encoder encoder(room.bytes());
      encoder(value);
      const std::span<const std::byte> bytes = encoder.bytes();
      return channel.send({fingerprint, {&bytes, 1}, encoder.fds()}, &room, deadline);
    }
  }

  template <class T>
  static T take(detail::Message& message) {
    if (message.fingerprint != type_fingerprint<T>()) [[unlikely]]
      detail::throw_type_mismatch(message, detail::type_name<T>());
    return decode<T>(message.bytes, std::move(message.fds));
  }

  bool send_parts(std::uint64_t fingerprint, std::span<const std::span<const std::byte>> parts,
                  Deadline deadline) const;
  detail::Channel& any() const;
  detail::Channel& sender() const;
  detail::Channel& receiver() const;

  std::unique_ptr<detail::Channel> channel_;
};

template <>
struct Travel<Connection> {
  // Templates, so that nothing of them is compiled where no Connection travels.
  template <class E>
  static void encode(E& to, const Connection& connection) {
    connection.any().travel(to);
  }
  template <class D>
  static Connection decode(D& from) {
    return Connection(detail::Channel::arrive(from));
  }
};

}  // namespace multiproc
