// SPDX-License-Identifier: MIT

#include <multiproc/process/main_guard.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/os/launch.hpp>
#include <multiproc/os/poll.hpp>
#include <multiproc/os/quiet_write.hpp>
#include <multiproc/os/self.hpp>
#include <multiproc/os/socket.hpp>
#include <multiproc/process/start_method.hpp>

#include "process/child_main.hpp"
#include "process/identity.hpp"
#include "process/print_family.hpp"
#include "process/spawn_protocol.hpp"

namespace multiproc {

namespace detail {

namespace {

// Both are set before any constructor of the program has run, and looked at again by main_guard() alone.
constinit int parent_socket = -1;  // in a spawned child until its target runs; -1 elsewhere
constinit pid_t born_to = 0;

constinit Guard the_guard;

// Or about to be: a process that has threads loses its children one thread after the other, and only then counts as
// ended. Where the kernel gives out no pidfds: taken for gone.
bool is_gone(pid_t pid) noexcept {
  constexpr std::chrono::milliseconds kDying{200};
  const auto process = os::open_pidfd(pid);
  if (!process) return true;
  const auto ended = os::wait_readable(process.value().get(), kDying);
  return !ended || ended.value();
}

// Before the constructors of the program, which may take their time: a daemon must not outlive its parent by that, and
// nothing that they execute may inherit the socket or see the marker. 101 is the first priority open to programs.
__attribute__((constructor(101))) void notice_birth() noexcept {
  const char* marker = std::getenv(kMarker);
  if (marker == nullptr) return;
  int socket = -1;
  int parent = 0;
  int lifeline = -1;
  int watch = 0;
  int end = -1;
  const int fields = std::sscanf(marker, "%d:%d:%d:%d:%d", &socket, &parent, &lifeline, &watch, &end);
  ::unsetenv(kMarker);
  if (fields != 5) return;
  const pid_t elder = os::parent_pid();  // 0, as the maker of the socket: in an outer pid namespace
  if (elder != parent) {
    const auto maker = os::peer_pid(socket);
    const bool is_ours = maker && maker.value() == (elder == 0 ? 0 : parent);
    // Orphaned before it could look? Then it is nothing any more, least of all a second main(). But where the socket is
    // not that parent's the marker is one left over, and where the parent lives this is a program that the child
    // executed before this constructor could run: both are a main() of their own.
    if (is_ours && elder != 0 && is_gone(parent)) os::exit_now(1);
    if (!is_ours || elder != 0) return;
  }
  os::Result<os::Fd> taken = os::take_inherited(socket);
  if (!taken) return;
  parent_socket = taken.value().release();
  born_to = elder;
  the_guard.awaited = true;
  for (const int held : {lifeline, end}) {  // until this process ends
    if (held < 0) continue;
    if (auto taken_too = os::take_inherited(held)) (void)taken_too.value().release();
  }
  if (watch != 0) (void)os::watch_parent({parent, lifeline, watch == kWatchedByMainThread});
}

// The parent, heard through its socket. Its end is this process's end too, without a word: there is nobody to tell.
class Parent {
 public:
  explicit Parent(int socket) : socket_(socket) {
    if (os::parent_pid() != born_to) os::exit_now(1);
  }

  // Most of it was there before this process was.
  void receive(std::span<std::byte> into) {
    while (!into.empty()) {
      const auto got = os::receive_some(socket_, into, Deadline::now());
      if (!got && got.error() == ETIMEDOUT) {
        await();
        continue;
      }
      if (!got || got.value() == 0) os::exit_now(1);
      into = into.subspan(got.value());
    }
  }

  std::vector<os::Fd> receive_fds(std::size_t count) {
    if (count == 0) return {};
    const auto there = os::wait_readable(socket_, Deadline::now());
    if (!there || !there.value()) await();
    return os::receive_fds(socket_, count, Deadline::never())
        .or_throw("the descriptors of the start message", "Raise the limit of open files (ulimit -n)");
  }

 private:
  // The end of the stream alone would not do: another process may hold a copy of the parent's end of the socket.
  // Without a pidfd the parent is looked at now and then.
  void await() {
    if (!pidfd_) {
      if (auto opened = os::open_pidfd(born_to)) pidfd_ = std::move(opened.value());
      if (os::parent_pid() != born_to) os::exit_now(1);  // gone; the pidfd may be a stranger's
    }
    std::array<os::PollItem, 2> items{os::PollItem{socket_}, os::PollItem{pidfd_.get()}};
    for (;;) {
      const auto ready = os::poll_all(items, pidfd_ ? Deadline::never() : Deadline(os::kLookInterval));
      if (ready && items[0].ready) return;
      if (!ready || pidfd_ || os::parent_pid() != born_to) os::exit_now(1);
    }
  }

  int socket_;
  os::Fd pidfd_;
};

// An option that the kernel does not allow: told as it is, for the parent knows the remedy.
struct Refused {
  os::Failure failure;
};

std::unique_ptr<Task> make_task_from(int socket, SpawnOrder& order) {
  Parent parent(socket);
  OrderHeader header;
  parent.receive(std::as_writable_bytes(std::span(&header, 1)));
  if (header.magic != OrderHeader::kMagic) throw DecodeError("the start message is of another version of the library");
  const auto bytes = std::make_unique_for_overwrite<std::byte[]>(header.bytes);
  parent.receive({bytes.get(), header.bytes});

  Decoder in({bytes.get(), header.bytes}, parent.receive_fds(header.descriptors));
  order = in.read<SpawnOrder>();
  if (order.has_print_family) adopt_print_family(in.take_fd());
  os::ChildSetup setup;
  setup.memory_bytes = order.memory_bytes;
  setup.cpu_seconds = order.cpu_seconds;
  setup.open_files = order.open_files;
  setup.cpus = order.cpus;
  if (const auto applied = os::apply(setup); !applied) throw Refused{applied.failure()};

  const os::ResolvedCode maker = os::resolve_code(order.maker);
  if (maker.address == nullptr) throw DecodeError(maker.problem);
  return reinterpret_cast<Task::Maker>(const_cast<void*>(maker.address))(in);
}

void answer(int socket, Answer::Kind kind, std::string_view text = {}, int error = 0) noexcept {
  // What the socket takes at once: where the parent is gone and another holds its end, nobody makes room.
  text = text.substr(0, std::size_t{64} << 10);
  Answer message;
  message.kind = kind;
  message.error = error;
  message.text = static_cast<std::uint32_t>(text.size());
  (void)os::send_all(socket, std::as_bytes(std::span(&message, 1)), Deadline::never());
  (void)os::send_all(socket, std::as_bytes(std::span(text)), Deadline::never());
}

[[noreturn]] void live_as_spawned(const char* program) noexcept {
  if (program != nullptr) {  // the kernel calls us "exe", after the path that was executed
    const char* slash = std::strrchr(program, '/');
    os::name_process(slash != nullptr ? slash + 1 : program);
  }
  os::Fd socket(std::exchange(parent_socket, -1));
  the_guard.awaited = false;
  std::unique_ptr<Task> task;
  try {
    SpawnOrder order;
    task = make_task_from(socket.get(), order);
    auto mine = std::make_unique<Identity>();
    mine->name = std::move(order.name);
    mine->path = std::move(order.path);
    mine->parent = born_to;
    mine->parent_name = std::move(order.parent_name);
    mine->before = &identity();
    become(mine.release());
    if (order.start_method) set_start_method(static_cast<StartMethod>(*order.start_method));
  } catch (const Refused& refused) {
    answer(socket.get(), Answer::refused, refused.failure.call, refused.failure.error);
    os::exit_now(1);
  } catch (const std::exception& error) {
    answer(socket.get(), Answer::refused, error.what());
    os::exit_now(1);
  } catch (...) {
    answer(socket.get(), Answer::refused, "an exception of unknown type while the arguments were decoded");
    os::exit_now(1);
  }
  answer(socket.get(), Answer::ready);
  socket.reset();
  live_spawned(*task);
}

}  // namespace

Guard& guard() noexcept {
  return the_guard;
}

std::string main_guard_remedy() {
  return ". Add it as the first line:\n"
         "\n"
         "    int main(int argc, char** argv) {\n"
         "      multiproc::main_guard(argc, argv);\n";
}

}  // namespace detail

void main_guard(int argc, char** argv) {
  detail::Guard& guard = detail::guard();
  if (guard.arguments != nullptr) return;
  auto* const arguments = new std::vector<std::string>(argv, argv + (argc > 0 ? argc : 0));
  if (arguments->empty()) arguments->emplace_back("multiproc");
  guard.arguments = arguments;  // for good: exit handlers may still start processes
  os::exempt_from_sigpipe();
  if (detail::parent_socket >= 0) detail::live_as_spawned(argc > 0 ? argv[0] : nullptr);
  detail::create_print_family();
}

}  // namespace multiproc
