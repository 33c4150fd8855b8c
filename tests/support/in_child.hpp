// SPDX-License-Identifier: MIT
//
// support/in_child.hpp: run a function or a program in a child and see how it ended and what it printed.
//
// For what can't be looked at from inside: output, exit codes, deaths, a process of one's own to spoil. in_child() is a
// plain fork, run_program() a plain fork and exec, neither goes through the library. Both return when the child has
// ended and nobody holds its output any more, or when the limit passes; then the child and all its descendants are
// killed, and `timed_out` is set.
//
//     const auto result = support::in_child([] { std::puts("hello"); });
//     EXPECT_EQ(result.status, 0);
//     EXPECT_EQ(result.out, "hello\n");
#pragma once

#include <chrono>
#include <concepts>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace support {

struct ChildResult {
  int status = 0;          // exit code, or -signal
  bool timed_out = false;  // the limit passed: killed, or its output was still held by a descendant
  std::string out{};       // all it wrote to stdout
  std::string err{};       // all it wrote to stderr
};

struct ChildOptions {
  std::chrono::milliseconds limit = std::chrono::seconds{30};  // scaled by time_factor()
  std::string input{};                                         // its stdin; at most 64 KiB
  std::vector<std::pair<std::string, std::string>> env{};      // added to ours
  std::string cwd{};                                           // "": ours
};

namespace detail {
ChildResult run(const std::function<int()>& body, const ChildOptions& options);
}

/// Runs `body` in a forked child. An int that it returns is the exit code. A failed expectation in it or an exception
/// out of it gives exit code 1 and a text in `out` or `err`. The child ends by _exit, its own output flushed.
template <std::invocable F>
ChildResult in_child(F&& body, const ChildOptions& options = {}) {
  return detail::run(
      [&body]() -> int {
        if constexpr (std::is_same_v<std::invoke_result_t<F&>, int>) {
          return body();
        } else {
          body();
          return 0;
        }
      },
      options);
}

/// Runs the program at `path`. 127: it could not be executed.
ChildResult run_program(const std::string& path, const std::vector<std::string>& args = {},
                        const ChildOptions& options = {});

/// The path of a helper built from tests/programs/<name>.cpp.
std::string program(std::string_view name);

}  // namespace support
