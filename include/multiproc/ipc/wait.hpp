// SPDX-License-Identifier: MIT
//
// multiproc/ipc/wait.hpp: waiting for the first of several things: messages, connections, the ends of processes.
//
//     for (std::size_t which : mp::wait({ours, worker, fd})) ...
#pragma once

#include <concepts>
#include <cstddef>
#include <initializer_list>
#include <span>
#include <vector>

#include <multiproc/deadline.hpp>

namespace multiproc {

/// Something that wait() waits for: a Connection (a message, or the end), a Process (its end), or a descriptor that
/// poll(2) can wait for (something to read, or the end). Refers to it, and must not outlive it.
class Waitable {
 public:
  Waitable(int descriptor) noexcept : descriptor_(descriptor) {}

  template <class T>
    requires requires(const T& object) {
      { object.fileno() } -> std::same_as<int>;
    }
  Waitable(const T& object) : descriptor_(object.fileno()) {}

  template <class T>
    requires requires(const T& object) {
      { object.sentinel() } -> std::same_as<int>;
    }
  Waitable(const T& process) : descriptor_(process.sentinel()) {}

  int descriptor() const noexcept { return descriptor_; }

 private:
  int descriptor_;
};

/// Waits until at least one of them is ready; the places of all that are, in order. None: the deadline passed; or there
/// is nothing to wait for, for which nobody waits. SystemError with EBADF: one is no open descriptor; nothing else was
/// lost by that. Any number of them; the same one may stand there twice. One system call, poll(2).
std::vector<std::size_t> wait(std::span<const Waitable> objects, Deadline deadline = Deadline::never());
inline std::vector<std::size_t> wait(std::initializer_list<Waitable> objects, Deadline deadline = Deadline::never()) {
  return wait(std::span(objects.begin(), objects.size()), deadline);
}

}  // namespace multiproc
