// SPDX-License-Identifier: MIT
// expect: compiles
//
// The control of the other files here: everything that they refuse is absent, the rest is the same.

#include <string>
#include <vector>

#include <multiproc/ipc/encode.hpp>

struct Job {
  int id = 0;
  std::string name{};
  std::vector<std::vector<int>> rows{};
};

multiproc::Encoded send(const Job& job) {
  return multiproc::encode(job);
}
