// SPDX-License-Identifier: MIT
//
// The shortest program there is; the README begins with it.

#include <multiproc/multiproc.hpp>

#include <string>

namespace mp = multiproc;

void greet(const std::string& name) {
  mp::println("hello {}, from process {}", name, mp::current_process().pid());
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);  // C++'s `if __name__ == "__main__":`
  mp::Process worker{greet, "bob"};
  worker.start();
  worker.join();
}
