// SPDX-License-Identifier: MIT
// expect: copied(): a capture is not trivially copyable (a std::string or std::vector, say)
// expect: Pass it to Process as an argument instead

#include <string>

#include <multiproc/process/process.hpp>

void start(const std::string& name) {
  multiproc::Process child{multiproc::copied([name] { (void)name.size(); })};
  child.start();
}
