// SPDX-License-Identifier: MIT
//
// daemon_parent <fork|spawn> <main|thread> <how> <wire>: starts a daemon, which tells the wire its pid, waits for that
// and ends in the way named.

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/process.hpp>

namespace {

void live(const std::string& wire, const std::string& ready) {
  const std::string pid = std::to_string(::getpid()) + "\n";
  const int fd = ::open(wire.c_str(), O_WRONLY | O_CLOEXEC);
  (void)!::write(fd, pid.data(), pid.size());
  const int parent = ::open(ready.c_str(), O_WRONLY | O_CLOEXEC);
  (void)!::write(parent, "x", 1);
  for (;;) ::pause();
}

}  // namespace

int main(int argc, char** argv) {
  multiproc::main_guard(argc, argv);
  const auto method =
      std::string_view(argv[1]) == "fork" ? multiproc::StartMethod::fork : multiproc::StartMethod::spawn;
  const std::string_view how = argv[3];
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return 1;
  const std::string ready = "/proc/" + std::to_string(::getpid()) + "/fd/" + std::to_string(ends[1]);

  auto* const daemon =
      new multiproc::Process{{.daemon = true, .start_method = method}, live, std::string(argv[4]), ready};
  if (std::string_view(argv[2]) == "thread") {
    std::thread([&] { daemon->start(); }).join();
  } else {
    daemon->start();
  }
  char byte = 0;
  (void)!::read(ends[0], &byte, 1);

  if (how == "exit") std::exit(0);
  if (how == "quick_exit") std::quick_exit(0);
  if (how == "_exit") ::_exit(0);
  if (how == "abort") std::abort();
  if (how == "segv") {
    std::signal(SIGSEGV, SIG_DFL);
    std::raise(SIGSEGV);
  }
  if (how == "throw") throw std::runtime_error("on purpose");
  if (how == "kill") std::raise(SIGKILL);
  return 0;
}
