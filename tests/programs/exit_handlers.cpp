// SPDX-License-Identifier: MIT
//
// exit_handlers <fork|spawn> <return|exit|throw|thread_exit>: a program with a static object, a thread_local one and a
// handler, whose child ends in the way named. Each says in which process it runs, by write(2), past all buffers.

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include <unistd.h>

#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/process.hpp>
#include <multiproc/process/this_process.hpp>

namespace {

void say(std::string_view who) {
  const std::string text = std::string(who) + (multiproc::parent_process() ? " in a child\n" : " in the parent\n");
  (void)!::write(STDOUT_FILENO, text.data(), text.size());
}

struct Speaker {
  const char* who;
  ~Speaker() { say(who); }
};

const Speaker of_the_program{"static object of the program"};
thread_local const Speaker of_the_thread{"thread_local of main"};

void target(const std::string& how) {
  std::atexit([] { say("atexit of the target"); });
  if (how == "exit") std::exit(3);
  if (how == "throw") throw std::runtime_error("on purpose");
  if (how == "thread_exit") {
    std::thread([] { std::exit(3); }).detach();
    for (;;) ::pause();
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::atexit([] { say("atexit of the program"); });
  multiproc::main_guard(argc, argv);
  (void)&of_the_thread;
  const auto method =
      std::string_view(argv[1]) == "fork" ? multiproc::StartMethod::fork : multiproc::StartMethod::spawn;
  multiproc::Process child{{.start_method = method}, target, std::string(argv[2])};
  child.start();
  child.join();
  return 0;
}
