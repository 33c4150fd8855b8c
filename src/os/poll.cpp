// SPDX-License-Identifier: MIT

#include <multiproc/os/poll.hpp>

#include <cerrno>
#include <chrono>
#include <ctime>
#include <memory>
#include <new>

#include <poll.h>

#include "os/fault.hpp"

namespace multiproc::os {

namespace {

// ppoll(2), not poll: nanoseconds, so that a deadline is not rounded up to a millisecond. What is left is computed
// anew after each signal.
Result<std::size_t> poll_until(pollfd* items, std::size_t count, Deadline deadline) noexcept {
  for (;;) {
    std::timespec left{};
    const bool bounded = !deadline.is_never();
    if (bounded) {
      const auto remaining = deadline.remaining();
      const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(remaining);
      left = {static_cast<std::time_t>(seconds.count()), static_cast<long>((remaining - seconds).count())};
    }
    int error = fault::injected("poll");
    if (error == 0) {
      const int ready = ::ppoll(items, count, bounded ? &left : nullptr, nullptr);
      if (ready >= 0) return static_cast<std::size_t>(ready);
      error = errno;
    }
    if (error != EINTR) return Failure{"poll", error};
  }
}

Result<bool> wait_for(int fd, short events, Deadline deadline) noexcept {
  pollfd item{fd, events, 0};
  const auto ready = poll_until(&item, 1, deadline);
  if (!ready) return ready.failure();
  if ((item.revents & POLLNVAL) != 0) return Failure{"poll", EBADF};
  return ready.value() != 0;
}

}  // namespace

Result<std::size_t> poll_all(std::span<PollItem> items, Deadline deadline) noexcept {
  constexpr std::size_t kOnStack = 64;
  pollfd on_stack[kOnStack];
  std::unique_ptr<pollfd[]> on_heap;
  pollfd* polled = on_stack;
  if (items.size() > kOnStack) {
    on_heap.reset(new (std::nothrow) pollfd[items.size()]);
    if (!on_heap) return Failure{"poll", ENOMEM};
    polled = on_heap.get();
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    polled[i].fd = items[i].fd;
    polled[i].events = static_cast<short>((items[i].wants_read ? POLLIN : 0) | (items[i].wants_write ? POLLOUT : 0));
    polled[i].revents = 0;
  }
  const auto ready = poll_until(polled, items.size(), deadline);
  if (!ready) return ready.failure();
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i].broken = (polled[i].revents & POLLNVAL) != 0;
    items[i].ready = polled[i].revents != 0 && !items[i].broken;
  }
  return ready.value();
}

Result<bool> wait_readable(int fd, Deadline deadline) noexcept {
  return wait_for(fd, POLLIN, deadline);
}

Result<bool> wait_writable(int fd, Deadline deadline) noexcept {
  return wait_for(fd, POLLOUT, deadline);
}

}  // namespace multiproc::os
