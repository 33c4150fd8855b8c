// SPDX-License-Identifier: MIT
//
// forgotten_child <fork|spawn> <return|exit|quick_exit|exit_in_thread|static> <wire>: starts a process, forgets it and
// ends with code 11. The child tells the wire when it is done, which takes it a while.

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include <fcntl.h>
#include <unistd.h>

#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/process.hpp>

namespace {

std::unique_ptr<multiproc::Process> at_namespace_scope;

// Slow on purpose: a parent that does not wait would be gone long before. Nor does who watches that parent wait for the
// end of its output, if the child does not hold it.
void finish_late(const std::string& wire) {
  for (const int output : {STDOUT_FILENO, STDERR_FILENO}) ::close(output);
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  const int fd = ::open(wire.c_str(), O_WRONLY | O_CLOEXEC);
  (void)!::write(fd, "child done\n", 11);
}

}  // namespace

int main(int argc, char** argv) {
  multiproc::main_guard(argc, argv);
  const auto method =
      std::string_view(argv[1]) == "fork" ? multiproc::StartMethod::fork : multiproc::StartMethod::spawn;
  const std::string_view how = argv[2];
  auto child = std::make_unique<multiproc::Process>(multiproc::ProcessOptions{.start_method = method}, finish_late,
                                                    std::string(argv[3]));
  child->start();
  if (how == "static") {
    at_namespace_scope = std::move(child);
  } else {
    static multiproc::Process* volatile forgotten = nullptr;  // reachable, or a sanitizer takes it for a leak
    forgotten = child.release();
    (void)forgotten;
  }
  if (how == "exit") std::exit(11);
  if (how == "quick_exit") std::quick_exit(11);
  if (how == "exit_in_thread") {
    std::thread([] { std::exit(11); }).join();
  }
  return 11;
}
