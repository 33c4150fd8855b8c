// SPDX-License-Identifier: MIT

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <span>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/os/poll.hpp>
#include <multiproc/os/self.hpp>
#include <multiproc/os/socket.hpp>
#include <multiproc/os/unforked_fd.hpp>

#include "process/child_main.hpp"
#include "process/identity.hpp"
#include "process/print_family.hpp"
#include "process/spawn_protocol.hpp"
#include "process/start.hpp"

namespace multiproc::detail {

namespace {

std::string quoted(const ProcessOptions& options) {
  return "process '" + options.name + "'";
}

int how_watched(const os::ParentWatch& watch) {
  if (watch.parent == 0) return kNotWatched;
  return watch.by_main_thread ? kWatchedByMainThread : kWatched;
}

const std::vector<std::string>& arguments_of_main(const ProcessOptions& options) {
  if (const auto* arguments = guard().arguments.load()) return *arguments;
  throw MainGuardMissing(quoted(options) + ": can't be spawned, for main() has not called main_guard()" +
                         main_guard_remedy());
}

Encoded encode_order(const Order& order) {
  const ProcessOptions& options = order.options;
  Encoder out;
  SpawnOrder message;
  message.name = options.name;
  message.path = order.path;
  message.parent_name = identity().name;
  message.memory_bytes = options.limits.memory_bytes;
  message.cpu_seconds = options.limits.cpu_seconds;
  message.open_files = options.limits.open_files;
  message.cpus = options.cpus;
  if (const auto chosen = chosen_start_method()) message.start_method = static_cast<int>(*chosen);
  // Without it the child's long lines are whole among themselves alone: no reason not to start.
  os::Result<os::Fd> family = os::duplicate_fd(print_family_fd());
  message.has_print_family = family.ok();
  try {
    const Task::Maker maker = order.task.maker();
    if (maker != nullptr) {
      const auto code = os::locate_code(reinterpret_cast<const void*>(maker));
      if (!code) throw multiproc::NotSendable("the code of the target is in no loaded file");
      message.maker = *code;
    }
    out(message);
    if (family) out.attach(std::move(family.value()));
    order.task.encode(out);
  } catch (const multiproc::NotSendable& refusal) {
    throw multiproc::NotSendable(quoted(options) + ": " + refusal.what());
  }
  return out.take();
}

// The conversation with a child that is being born.
class Midwife {
 public:
  Midwife(const ProcessOptions& options, os::Child child, int socket)
      : options_(options), child_(std::move(child)), socket_(socket), deadline_(start_deadline(options)) {}
  Midwife(const Midwife&) = delete;
  Midwife& operator=(const Midwife&) = delete;
  ~Midwife() {
    if (!delivered_) child_.destroy();
  }

  // Sends all that the child needs. A child that ended meanwhile is seen by await_answer().
  void send(const Encoded& order) {
    OrderHeader header;
    header.bytes = order.bytes.size();
    header.descriptors = order.fds.size();
    std::vector<int> fds;
    fds.reserve(order.fds.size());
    for (const os::Fd& fd : order.fds) fds.push_back(fd.get());
    auto sent = send(std::as_bytes(std::span(&header, 1)));
    if (sent) sent = send(std::span(order.bytes.data(), order.bytes.size()));
    if (sent) sent = send(fds);
    if (sent || sent.error() == EPIPE || sent.error() == ECONNRESET) return;
    throw_launch_failure(sent.failure(), options_);
  }

  // Nothing: the target is about to run. A status: killed from outside before that. Throws what went wrong.
  std::optional<ExitStatus> await_answer() {
    Answer answer;
    if (receive(std::as_writable_bytes(std::span(&answer, 1)))) {
      if (answer.kind == Answer::ready) return std::nullopt;
      std::string text(answer.text, '\0');
      (void)receive(std::as_writable_bytes(std::span(text)));
      if (answer.error != 0) throw_launch_failure({text.c_str(), answer.error}, options_);
      throw LaunchError(quoted(options_) + ": the child could not begin: " + text);
    }
    if (!child_.wait(deadline_).or_throw(quoted(options_))) throw_timeout();
    const auto status = child_.reap().or_throw(quoted(options_));
    if (!status) throw_timeout();  // not reached: what wait() saw end can be reaped
    return judge(*status);
  }

  os::Child deliver() noexcept {
    delivered_ = true;
    return std::move(child_);
  }

 private:
  // Waits until the child has said something, or until there is room to say something to it. False: there is not, and
  // it has ended. That must be asked of the child itself: whatever it started may hold the socket, unread, for ever.
  bool await(bool for_room) {
    const bool is_told = os::has_pidfd() && child_.sentinel() >= 0;
    std::array<os::PollItem, 2> items{os::PollItem{socket_, !for_room, for_room},
                                      os::PollItem{is_told ? child_.sentinel() : -1}};
    for (;;) {
      const Deadline look = is_told ? deadline_ : Deadline::earlier(deadline_, os::kLookInterval);
      (void)os::poll_all(items, look).or_throw(quoted(options_));
      if (items[0].ready) return true;
      if (is_told ? items[1].ready : child_.wait(Deadline::now()).or_throw(quoted(options_))) break;
      if (deadline_.passed()) throw_timeout();
    }
    // And once more, for it may have spoken and ended while poll(2) went from the first to the second.
    (void)os::poll_all(std::span(items).first(1), Deadline::now()).or_throw(quoted(options_));
    return items[0].ready;
  }

  // Does `part`, which never waits, until there was room for it.
  template <class Part>
  auto when_there_is_room(Part part) -> decltype(part()) {
    for (;;) {
      auto sent = part();
      if (sent || sent.error() != ETIMEDOUT) return sent;
      if (!await(true)) return os::Failure{"send", EPIPE};
    }
  }

  os::Result<> send(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const auto sent = when_there_is_room([&] { return os::send_some(socket_, bytes, Deadline::now()); });
      if (!sent) return sent.failure();
      bytes = bytes.subspan(sent.value());
    }
    return {};
  }

  os::Result<> send(std::span<const int> fds) {
    while (!fds.empty()) {
      const auto batch = fds.first(std::min(fds.size(), os::kMaxFdsPerMessage));
      const auto sent = when_there_is_room([&] { return os::send_fds(socket_, batch, Deadline::now()); });
      if (!sent) return sent.failure();
      fds = fds.subspan(batch.size());
    }
    return {};
  }

  // False: the child ended, or closed the socket, before all of `into` came.
  bool receive(std::span<std::byte> into) {
    while (!into.empty()) {
      if (!await(false)) return false;
      const auto got = os::receive_some(socket_, into, Deadline::now());
      if (!got || got.value() == 0) return false;
      into = into.subspan(got.value());
    }
    return true;
  }

  ExitStatus judge(const ExitStatus& status) const {
    if (!status.known()) {
      throw LaunchError(
          quoted(options_) +
          ": the child ended before it reached main_guard(), and somebody else took its status (is SIGCHLD "
          "ignored?). Look at what runs before, and whether main() comes to its guard in a child" +
          main_guard_remedy());
    }
    // Killed by somebody, as may happen at any time: started, and ended.
    if (const int signal = status.signal(); signal == SIGKILL || signal == SIGTERM || signal == SIGINT) return status;
    const std::string what = quoted(options_) + ": the child " + status.describe() + " before it reached main_guard()";
    if (status.signalled())
      throw LaunchError(what + ". Look at what runs before: static constructors, the head of main()");
    if (status.code() == 127) throw LaunchError(what + ": its image or a library of it can't be loaded");
    throw MainGuardMissing(what + main_guard_remedy());
  }

  [[noreturn]] void throw_timeout() const {
    throw TimeoutError(quoted(options_) + ": the child did not reach its target within start_timeout, and was killed");
  }

  const ProcessOptions& options_;
  os::Child child_;
  const int socket_;
  Deadline deadline_;
  bool delivered_ = false;
};

}  // namespace

void start_by_spawn(const Order& order, Running& running) {
  const ProcessOptions& options = order.options;
  std::vector<std::string> arguments = arguments_of_main(options);
  os::OwnImage image = os::own_image();
  if (image.path.empty()) {
    throw Unsupported(
        quoted(options) +
        ": can't be spawned, for this program was run by the dynamic loader (ld.so program) and /proc can't "
        "be read: run the program itself, or use StartMethod::fork");
  }
  if (!image.loader.empty()) {
    image.loader.insert(image.loader.end(), arguments.begin() + 1, arguments.end());
    arguments = std::move(image.loader);
  }
  const Encoded message = encode_order(order);

  const os::Fd directory = open_cwd(options);
  // No other child may hold them: it would outlive this start, and keep either side from seeing the other's end.
  std::array<os::UnforkedFd, 2> sockets;
  if (auto made = os::make_unforked(sockets, os::make_socket_pair); !made)
    throw_launch_failure(made.failure(), options);
  auto& [ours, theirs] = sockets;
  std::vector<int> inherited{theirs.get()};
  const os::ParentWatch watch = open_watch(options, running);
  if (watch.lifeline >= 0) inherited.push_back(watch.lifeline);

  auto end = os::make_end();
  if (!end) throw_launch_failure(end.failure(), options);
  const std::string marker = std::string(kMarker) + "=" + std::to_string(theirs.get()) + ":" +
                             std::to_string(os::self_pid()) + ":" + std::to_string(watch.lifeline) + ":" +
                             std::to_string(how_watched(watch)) + ":" + std::to_string(end.value().write.get());
  Environment environment(options, {marker});
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  flush_all();
  auto child = os::spawn_child(image.path.c_str(), argv.data(), environment.get(), inherited, directory.get(),
                               std::move(end.value()));
  if (!child) throw_launch_failure(child.failure(), options);
  theirs.reset();
  if (os::Lifeline* const lifeline = running.lifeline()) lifeline->child_end().reset();

  Midwife midwife(options, std::move(child.value()), ours.get());
  midwife.send(message);
  const std::optional<ExitStatus> ended = midwife.await_answer();
  running.born(midwife.deliver(), ended);
}

}  // namespace multiproc::detail
