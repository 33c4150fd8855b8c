// SPDX-License-Identifier: MIT

#include "support/in_child.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/watchdog.hpp"

extern "C" void __gcov_dump() __attribute__((weak));  // there in coverage builds only

namespace support {
namespace {

using Clock = std::chrono::steady_clock;

[[noreturn]] void fail(const char* what) {
  throw std::system_error{errno, std::generic_category(), what};
}

// One way out of the child, and both ends closed whatever happens.
class Pipe {
 public:
  Pipe() {
    if (::pipe2(ends_.data(), O_CLOEXEC) != 0) fail("pipe2");
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_end(0);
    close_end(1);
  }
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void close_end(std::size_t which) {
    if (ends_[which] >= 0) ::close(std::exchange(ends_[which], -1));
  }

  // Reads what is there. False at the end of the stream.
  bool drain_into(std::string& text) {
    std::array<char, 65536> buffer;
    const ssize_t size = ::read(read_end(), buffer.data(), buffer.size());
    if (size < 0) return errno == EINTR || errno == EAGAIN;
    text.append(buffer.data(), static_cast<std::size_t>(size));
    return size > 0;
  }

 private:
  std::array<int, 2> ends_{-1, -1};
};

void flush_everything() {
  std::cout.flush();
  std::clog.flush();
  std::fflush(nullptr);
}

// dup2 keeps close-on-exec where both numbers are the same, so a pipe that already has the right number needs a word.
void become(int fd, int number) {
  if (fd == number) {
    ::fcntl(fd, F_SETFD, 0);
  } else {
    ::dup2(fd, number);
  }
}

[[noreturn]] void live_as_child(const std::function<int()>& body, const ChildOptions& options, const Pipe& in,
                                const Pipe& out, const Pipe& err) {
  // Upwards of 2 first: in a parent whose own 0-2 are closed the pipes may have those numbers.
  const int safe_in = ::fcntl(in.read_end(), F_DUPFD_CLOEXEC, 3);
  const int safe_out = ::fcntl(out.write_end(), F_DUPFD_CLOEXEC, 3);
  const int safe_err = ::fcntl(err.write_end(), F_DUPFD_CLOEXEC, 3);
  for (const Pipe* pipe : {&in, &out, &err}) {
    ::close(pipe->read_end());
    ::close(pipe->write_end());
  }
  become(safe_in, STDIN_FILENO);
  become(safe_out, STDOUT_FILENO);
  become(safe_err, STDERR_FILENO);
  ::close(safe_in);
  ::close(safe_out);
  ::close(safe_err);

  int code = 1;
  try {
    for (const auto& [name, value] : options.env) ::setenv(name.c_str(), value.c_str(), 1);
    if (!options.cwd.empty() && ::chdir(options.cwd.c_str()) != 0) fail("chdir");
    code = body();
    if (code == 0 && testing::Test::HasFailure()) code = 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "in_child: uncaught exception: %s\n", error.what());
  } catch (...) {
    std::fprintf(stderr, "in_child: uncaught exception\n");
  }
  flush_everything();
  if (__gcov_dump != nullptr) __gcov_dump();
  ::_exit(code);
}

int status_of(int wait_status) {
  return WIFSIGNALED(wait_status) ? -WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

}  // namespace

ChildResult detail::run(const std::function<int()>& body, const ChildOptions& options) {
  Pipe in;
  Pipe out;
  Pipe err;
  if (!options.input.empty() && ::write(in.write_end(), options.input.data(), options.input.size()) !=
                                    static_cast<ssize_t>(options.input.size())) {
    fail("input of a child");
  }
  flush_everything();  // or the child writes our buffers a second time
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child == 0) live_as_child(body, options, in, out, err);
  in.close_end(0);
  in.close_end(1);
  out.close_end(1);
  err.close_end(1);

  ChildResult result;
  const auto until = Clock::now() + scaled(options.limit);
  // Where pidfd_open is refused, -1 makes poll skip the entry and the child is looked at every few milliseconds.
  const int pidfd = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
  bool alive = true;
  bool out_open = true;
  bool err_open = true;
  const auto reap = [&](int flags) {
    int wait_status = 0;
    if (alive && ::waitpid(child, &wait_status, flags) == child) {
      alive = false;
      result.status = status_of(wait_status);
    }
  };
  while ((alive || out_open || err_open) && Clock::now() < until) {
    std::array<pollfd, 3> ready{pollfd{alive ? pidfd : -1, POLLIN, 0},  //
                                pollfd{out_open ? out.read_end() : -1, POLLIN, 0},
                                pollfd{err_open ? err.read_end() : -1, POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now()).count() + 1;
    const auto pause = alive && pidfd < 0 ? std::min<decltype(left)>(left, 5) : left;
    if (::poll(ready.data(), ready.size(), static_cast<int>(pause)) < 0 && errno != EINTR) fail("poll");
    if (ready[1].revents != 0) out_open = out.drain_into(result.out);
    if (ready[2].revents != 0) err_open = err.drain_into(result.err);
    reap(WNOHANG);
  }
  result.timed_out = alive || out_open || err_open;
  if (alive) {
    kill_descendants(child);
    ::kill(child, SIGKILL);
    reap(0);
  }
  if (pidfd >= 0) ::close(pidfd);
  return result;
}

ChildResult run_program(const std::string& path, const std::vector<std::string>& args, const ChildOptions& options) {
  return detail::run(
      [&]() -> int {
        std::vector<char*> argv{const_cast<char*>(path.c_str())};
        for (const std::string& arg : args) argv.push_back(const_cast<char*>(arg.c_str()));
        argv.push_back(nullptr);
        ::execv(path.c_str(), argv.data());
        std::fprintf(stderr, "%s: %s\n", path.c_str(), std::strerror(errno));
        return 127;
      },
      options);
}

std::string program(std::string_view name) {
  return std::string{MULTIPROC_TEST_PROGRAMS "/"} += name;
}

}  // namespace support
