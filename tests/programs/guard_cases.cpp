// SPDX-License-Identifier: MIT
//
// guard_cases <case> [argument...]: main() in all the shapes in which people may write it. Every process of the program
// says "process" on stderr, from a static constructor, so that they can be counted.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

#include <unistd.h>

#include <multiproc/error.hpp>
#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/process.hpp>

namespace {

using multiproc::Process;
using multiproc::ProcessOptions;
using multiproc::StartMethod;

constexpr char kInChild[] = "GUARD_CASES_CHILD";  // set in the children that a case wants to know for children

bool is_child() {
  return std::getenv(kInChild) != nullptr;
}

void say(const std::string& text) {
  const std::string line = text + "\n";
  (void)!::write(STDOUT_FILENO, line.data(), line.size());
}

void target() {
  say("target");
}

struct Noisy {
  Noisy() { (void)!::write(STDERR_FILENO, "process\n", 8); }
  ~Noisy() { say("destroyed"); }
};

// Starts a process that runs target(), waits for it and says how that went.
void try_to_start(StartMethod method, const std::string& where, std::optional<std::chrono::nanoseconds> timeout = {}) {
  try {
    Process child{{.name = "child", .start_method = method, .env = {{kInChild, "1"}}, .start_timeout = timeout},
                  target};
    child.start();
    child.join();
    say(where + ": exit code " + std::to_string(*child.exitcode()));
  } catch (const multiproc::MainGuardMissing& error) {
    say(where + ": MainGuardMissing: " + error.what());
  } catch (const multiproc::LaunchError& error) {
    say(where + ": LaunchError: " + error.what());
  } catch (const multiproc::TimeoutError& error) {
    say(where + ": TimeoutError: " + error.what());
  } catch (const std::exception& error) {
    say(where + ": another error: " + error.what());
  }
}

const Noisy noisy;

// The case "static": a start from a static constructor, before main() is even entered.
const bool started_early = [] {
  std::ifstream file("/proc/self/cmdline");
  std::string program, which;
  std::getline(file, program, '\0');
  std::getline(file, which, '\0');
  if (which == "static_fork") try_to_start(StartMethod::fork, "static constructor");
  if (which == "static_spawn") try_to_start(StartMethod::spawn, "static constructor");
  return true;
}();

}  // namespace

int main(int argc, char** argv) {
  const std::string_view which = argc > 1 ? argv[1] : "";

  if (which == "plain" || which == "twice") {
    std::string arguments;
    for (int i = 1; i < argc; ++i) arguments += std::string("[") + argv[i] + "]";
    std::ifstream comm("/proc/self/comm");
    std::string name;
    std::getline(comm, name);
    say("before the guard: " + arguments + " " + name);
    multiproc::main_guard(argc, argv);
    if (which == "twice") multiproc::main_guard(argc, argv);
    say("after the guard");
    try_to_start(StartMethod::spawn, "main");
    try_to_start(StartMethod::spawn, "main");
    return 0;
  }
  if (which == "forgotten") {
    try_to_start(StartMethod::spawn, "main");
    try_to_start(StartMethod::fork, "main");
    return 0;
  }
  if (which == "conditional") {  // and the child goes on as if it were the real main
    if (!is_child()) multiproc::main_guard(argc, argv);
    try_to_start(StartMethod::spawn, is_child() ? "main of the child" : "main");
    try_to_start(StartMethod::fork, is_child() ? "main of the child" : "main");
    return 0;
  }
  if (which == "starts_before") {
    try_to_start(StartMethod::spawn, is_child() ? "before the guard in the child" : "before the guard");
    try_to_start(StartMethod::fork, is_child() ? "before the guard in the child" : "before the guard");
    multiproc::main_guard(argc, argv);
    try_to_start(StartMethod::spawn, "after the guard");
    return 0;
  }
  if (which == "starts_before_uncaught") {
    if (is_child()) {
      Process child{{.start_method = StartMethod::spawn}, target};
      child.start();
    }
    multiproc::main_guard(argc, argv);
    try_to_start(StartMethod::spawn, "main");
    return 0;
  }
  if (which == "returns_0" && is_child()) return 0;
  if (which == "returns_7" && is_child()) return 7;
  if (which == "exits_7" && is_child()) std::exit(7);
  if (which == "aborts" && is_child()) {
    std::signal(SIGABRT, SIG_DFL);
    std::abort();
  }
  if (which == "hangs" && is_child()) {
    for (;;) ::pause();
  }
  if (which == "executes") {  // by parent and child alike: another program must not see that it stands below a start
    (void)std::system("env | grep MULTIPROC_SPAWN; ls /proc/self/fd | wc -l");
  }
  if (which == "is_executed") {
    multiproc::main_guard(argc, argv);
    say("a main of its own");
    return 0;
  }

  multiproc::main_guard(argc, argv);
  if (which == "runs_itself") {  // a program that a spawned child executes is a real main, if it is the same program
    Process child{{.start_method = StartMethod::spawn},
                  [](const std::string& program) { (void)std::system((program + " is_executed").c_str()); },
                  std::string(argv[0])};
    child.start();
    child.join();
    return 0;
  }
  try_to_start(
      StartMethod::spawn, "main",
      which == "hangs" ? std::optional<std::chrono::nanoseconds>(std::chrono::milliseconds(200)) : std::nullopt);
  return 0;
}
