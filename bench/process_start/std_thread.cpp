// SPDX-License-Identifier: MIT

#include <thread>

#include "process_start/contenders.hpp"

namespace process_start {

int std_thread() {
  int code = -1;
  std::thread task{[&code] { code = 0; }};
  task.join();
  return code;
}

}  // namespace process_start
