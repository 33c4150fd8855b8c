// SPDX-License-Identifier: MIT
//
// src/process/spawn_protocol.hpp: what a spawned child is told, and what it answers, through one stream socket.
//
//   parent -> child   OrderHeader, `bytes` bytes (a SpawnOrder, then the task), `descriptors` descriptors
//   child -> parent   Answer, `text` bytes of error; then both close
//                     (`error` an errno: the kernel refused an option, and the text is the name of the call)
//
// The child finds the socket by the environment variable kMarker, "socket:parent's pid:lifeline:watch:end", which it
// takes out of its environment before any constructor of the program has run. The pid keeps a program that such a child
// executes by other means from taking the marker for its own.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <multiproc/os/module.hpp>

namespace multiproc::detail {

inline constexpr char kMarker[] = "MULTIPROC_SPAWN";

// The marker's `watch`.
inline constexpr int kNotWatched = 0;
inline constexpr int kWatched = 1;
inline constexpr int kWatchedByMainThread = 2;

struct OrderHeader {
  static constexpr std::uint64_t kMagic = 0x3172656472'6f706d;  // "mporder1"
  std::uint64_t magic = kMagic;
  std::uint64_t bytes = 0;
  std::uint64_t descriptors = 0;
};

struct SpawnOrder {
  std::string name;
  std::string path;
  std::string parent_name;
  std::optional<std::uint64_t> memory_bytes;
  std::optional<std::uint64_t> cpu_seconds;
  std::optional<std::uint64_t> open_files;
  std::vector<int> cpus;
  std::optional<int> start_method;  // what set_start_method() chose in the parent
  bool has_print_family = false;    // then it is the first descriptor
  os::CodeAddress maker;            // Task::Maker
};

struct Answer {
  enum Kind : std::uint32_t { ready = 1, refused = 2 };
  std::uint32_t kind = 0;
  std::uint32_t text = 0;
  std::int32_t error = 0;
};

/// What main_guard() has seen of this process. Any thread may look.
struct Guard {
  std::atomic<bool> awaited{false};  // this is a spawned child that has not reached main_guard() yet
  std::atomic<const std::vector<std::string>*> arguments{nullptr};  // null: main_guard() did not run
};
Guard& guard() noexcept;

/// "multiproc::main_guard(argc, argv);  // first line of main()", for error texts.
std::string main_guard_remedy();

}  // namespace multiproc::detail
