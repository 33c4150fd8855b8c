// SPDX-License-Identifier: MIT

#include <multiproc/process/process.hpp>

#include "process_start/contenders.hpp"

namespace process_start {

namespace {

int start_and_join(multiproc::StartMethod method) {
  multiproc::Process task{{.start_method = method}, [] {}};
  task.start();
  task.join();
  return task.exitcode().value_or(-1);
}

}  // namespace

int multiproc_fork() {
  return start_and_join(multiproc::StartMethod::fork);
}
int multiproc_spawn() {
  return start_and_join(multiproc::StartMethod::spawn);
}

}  // namespace process_start
