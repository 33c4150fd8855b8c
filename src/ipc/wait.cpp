// SPDX-License-Identifier: MIT

#include <multiproc/ipc/wait.hpp>

#include <algorithm>
#include <cerrno>
#include <string>

#include <multiproc/os/poll.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc {

std::vector<std::size_t> wait(std::span<const Waitable> objects, Deadline deadline) {
  std::vector<std::size_t> ready;
  if (objects.empty()) return ready;
  std::vector<os::PollItem> items(objects.size());
  for (std::size_t i = 0; i < objects.size(); ++i) {
    items[i].fd = objects[i].descriptor();
    if (items[i].fd < 0) {
      os::throw_failure({"wait", EBADF}, "object " + std::to_string(i), "It is no descriptor: was it closed?");
    }
  }
  (void)os::poll_all(items, deadline).or_throw(std::to_string(objects.size()) + " objects to wait for");
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].broken) {
      os::throw_failure({"wait", EBADF}, "object " + std::to_string(i) + ", descriptor " + std::to_string(items[i].fd),
                        "It is no open descriptor: was it closed?");
    }
    if (items[i].ready) ready.push_back(i);
  }
  return ready;
}

}  // namespace multiproc
