// SPDX-License-Identifier: MIT

#include "print/workload.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/core.h>

namespace workload {
namespace {

struct Count {
  std::int64_t lines = 0;
  std::int64_t wrong_at = -1;  // the first byte that is not as it should be
};

// All that comes is kLine over and over, so a byte's place in the stream says what it must be.
Count read_to_the_end(int from) {
  Count count;
  std::int64_t position = 0;
  std::array<char, 65536> buffer;
  for (ssize_t got = 0; (got = ::read(from, buffer.data(), buffer.size())) != 0;) {
    if (got < 0) continue;
    for (std::size_t at = 0; at < static_cast<std::size_t>(got);) {
      const auto in_line = static_cast<std::size_t>(position) % kLine.size();
      const std::size_t size = std::min(kLine.size() - in_line, static_cast<std::size_t>(got) - at);
      if (count.wrong_at < 0 && std::memcmp(&buffer[at], &kLine[in_line], size) != 0) count.wrong_at = position;
      at += size;
      position += static_cast<std::int64_t>(size);
    }
  }
  const auto length = static_cast<std::int64_t>(kLine.size());
  if (position % length != 0 && count.wrong_at < 0) count.wrong_at = position;
  count.lines = position / length;
  return count;
}

[[noreturn]] void fail(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

Reader::Reader() {
  std::fflush(stdout);
  std::cout.flush();
  int lines[2];
  int answer[2];
  if (::pipe2(lines, O_CLOEXEC) != 0 || ::pipe2(answer, O_CLOEXEC) != 0) fail("pipe2");
  reader_ = ::fork();
  if (reader_ < 0) fail("fork");
  if (reader_ == 0) {
    ::close(lines[1]);
    const Count count = read_to_the_end(lines[0]);
    ::_exit(::write(answer[1], &count, sizeof count) == sizeof count ? 0 : 1);
  }
  ::close(lines[0]);
  ::close(answer[1]);
  verdict_ = answer[0];
  stdout_before_ = ::fcntl(1, F_DUPFD_CLOEXEC, 3);
  ::dup2(lines[1], 1);
  ::close(lines[1]);
}

Reader::~Reader() {
  give_back();
  ::close(verdict_);
  ::waitpid(reader_, nullptr, 0);
}

void Reader::give_back() {
  if (stdout_before_ < 0) return;
  ::dup2(stdout_before_, 1);
  ::close(std::exchange(stdout_before_, -1));
}

std::string Reader::verdict(std::int64_t lines) {
  give_back();
  Count count;
  if (::read(verdict_, &count, sizeof count) != sizeof count) return "the reader died";
  if (count.wrong_at >= 0) return fmt::format("the reader saw a wrong byte at {}", count.wrong_at);
  if (count.lines != lines) return fmt::format("the reader saw {} lines of {}", count.lines, lines);
  return {};
}

}  // namespace workload
