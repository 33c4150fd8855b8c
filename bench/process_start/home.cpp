// SPDX-License-Identifier: MIT

#include "process_start/home.hpp"

#include <array>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include <fmt/core.h>

#include <multiproc/os/launch.hpp>
#include <multiproc/os/self.hpp>
#include <multiproc/os/socket.hpp>

#include "process_start/contenders.hpp"
#include "support/bench.hpp"

namespace process_start {

namespace {

namespace os = multiproc::os;

constexpr std::string_view kHome = "--home";

constexpr std::array<std::pair<std::string_view, int (*)()>, 7> kContenders{{
    {"multiproc_fork", multiproc_fork},
    {"multiproc_spawn", multiproc_spawn},
    {"raw_fork", raw_fork},
    {"raw_fork_unhandled", raw_fork_unhandled},
    {"raw_posix_spawn", raw_posix_spawn},
    {"raw_vfork_exec", raw_vfork_exec},
    {"std_thread", std_thread},
}};

void say(int socket, std::string line) {
  line += '\n';
  os::send_all(socket, std::as_bytes(std::span(line)), multiproc::Deadline::never()).or_throw("home");
}

// The next line; nullopt when the other side has gone. `kept`: what was read past it.
std::optional<std::string> hear_from(int socket, std::string& kept) {
  for (;;) {
    if (const auto end = kept.find('\n'); end != std::string::npos) {
      std::string line = kept.substr(0, end);
      kept.erase(0, end + 1);
      return line;
    }
    std::array<char, 512> piece;
    const auto got = os::read_some(socket, std::as_writable_bytes(std::span(piece)));
    if (!got || got.value() == 0) return std::nullopt;
    kept.append(piece.data(), got.value());
  }
}

// In 4 KiB pages, as most programs' memory is: huge pages make a fork some thirty times cheaper.
void touch(std::size_t bytes) {
  if (bytes == 0) return;
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::runtime_error("no memory");
  ::madvise(memory, bytes, MADV_NOHUGEPAGE);
  for (std::size_t at = 0; at < bytes; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
}

std::string time_starts(const std::string& order) {
  const auto space = order.find(' ');
  const std::string name = order.substr(0, space);
  const long starts = space == std::string::npos ? 0 : std::strtol(order.c_str() + space, nullptr, 10);
  for (const auto& [known, start_and_join] : kContenders) {
    if (known != name) continue;
    const auto began = std::chrono::steady_clock::now();
    for (long i = 0; i < starts; ++i) {
      if (const int code = start_and_join(); code != 0) return fmt::format("error exit code {}", code);
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    return fmt::format("{:.9f}", took.count());
  }
  return "error no such contender";
}

int live(int inherited, std::size_t bytes) {
  const os::Fd socket = os::take_inherited(inherited).or_throw("home");
  std::string kept;
  try {
    touch(bytes);
    say(socket.get(), "ready");
    while (const auto order = hear_from(socket.get(), kept)) say(socket.get(), time_starts(*order));
  } catch (const std::exception& error) {
    say(socket.get(), std::string("error ") + error.what());
    return 1;
  }
  return 0;
}

}  // namespace

Home::Home(std::string name, std::size_t bytes) : name_(std::move(name)) {
  auto [ours, theirs] = os::make_socket_pair().or_throw("home");
  std::vector<std::string> words{name_ == "python" ? "/usr/bin/env" : os::own_image().path};
  if (name_ == "python") {
    words.insert(words.end(), {"python3", bench::folder() + "/process_start/python.py"});
  } else {
    words.insert(words.end(), {std::string(kHome), name_});  // the name is for ps
  }
  words.insert(words.end(), {std::to_string(theirs.get()), std::to_string(bytes)});
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const std::array inherited{theirs.get()};
  process_ = os::spawn_child(words[0].c_str(), arguments.data(), os::environment(), inherited, -1).or_throw("home");
  socket_ = std::move(ours);
}

Home::~Home() {
  socket_.reset();  // the end of its orders
  if (process_.pid() == 0 || !process_.wait(multiproc::Deadline::never())) return;
  (void)process_.reap();
}

std::optional<std::string> Home::settle() {
  const auto line = hear();
  if (line == "ready") return std::nullopt;
  if (line && line->starts_with("skip ")) return line->substr(5);
  if (!line && name_ == "python") return "there is no python3";
  throw std::runtime_error(fmt::format("home '{}': {}", name_, line.value_or("ended, by lack of memory perhaps")));
}

double Home::run(std::string_view contender, long starts) {
  say(socket_.get(), fmt::format("{} {}", contender, starts));
  const auto line = hear();
  const double seconds = line ? std::strtod(line->c_str(), nullptr) : 0;
  if (seconds > 0) return seconds;
  throw std::runtime_error(fmt::format("{} in home '{}': {}", contender, name_, line.value_or("the home ended")));
}

std::optional<std::string> Home::hear() {
  return hear_from(socket_.get(), heard_);
}

bool live_at_home(int argc, char** argv, int& exit_code) {
  if (argc != 5 || argv[1] != kHome) return false;
  exit_code = live(std::atoi(argv[3]), static_cast<std::size_t>(std::strtoull(argv[4], nullptr, 10)));
  return true;
}

}  // namespace process_start
