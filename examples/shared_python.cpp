// SPDX-License-Identifier: MIT
//
// Memory shared with a Python program: the block that is made here is the same object as Python's
// multiprocessing.shared_memory.SharedMemory. The other half is shared_python.py.
#include <multiproc/multiproc.hpp>

#include <cstdlib>
#include <span>
#include <string>

namespace mp = multiproc;

int run(const std::string& command) {
  return std::system(command.c_str());
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  if (run("python3 -c 'from multiprocessing import shared_memory' 2>/dev/null") != 0) {
    mp::println("skipped: there is no python3 with multiprocessing.shared_memory, which came with 3.8");
    return 0;
  }
  std::string script = __FILE__;  // the other half lies beside this one
  script.replace(script.rfind(".cpp"), 4, ".py");

  const std::string name = "multiproc-" + std::to_string(mp::current_process().pid());
  auto block = mp::SharedMemory::create(name, 5 * sizeof(double));
  const std::span numbers(reinterpret_cast<double*>(block.bytes().data()), 5);
  for (double next = 1; double& number : numbers) number = next++;

  const int status = run("python3 '" + script + "' " + name);
  block.unlink();  // the name would stay; we have the bytes until the end
  for (const double number : numbers) mp::println("here: {}", number);
  return status == 0 ? 0 : 1;
}
