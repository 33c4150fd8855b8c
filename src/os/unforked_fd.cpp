// SPDX-License-Identifier: MIT

#include <multiproc/os/unforked_fd.hpp>

namespace multiproc::os {

struct UnforkedList {
  ForkMutex mutex;
  UnforkedFd* first = nullptr;
  bool is_registered = false;

  [[gnu::hot]] void close_in_child() noexcept {
    if (first == nullptr) return;  // the usual case writes to nothing
    for (UnforkedFd* fd = first; fd != nullptr; fd = fd->next_) fd->fd_.reset();
    first = nullptr;
  }

  // At the first use, so that the forks of programs without one are spared the handler.
  Result<> be_ready() noexcept;

  void remove(UnforkedFd& fd) noexcept {
    const ForkLock lock(mutex);
    UnforkedFd** at = &first;
    while (*at != &fd) at = &(*at)->next_;
    *at = fd.next_;
    fd.fd_.reset();  // under the lock: off the list but open it would be a child's to keep
  }
};

// Made when the program is loaded: a thread may fork while another uses it for the first time.
static constinit UnforkedList list;
[[maybe_unused]] static const bool is_enlisted = list.mutex.enlist();

Result<> UnforkedList::be_ready() noexcept {
  if (is_registered) return {};
  const auto done = at_fork(nullptr, nullptr, [] { list.close_in_child(); });
  is_registered = done.ok();
  return done;
}

void UnforkedFd::reset() noexcept {
  if (fd_) list.remove(*this);
}

NoForkNow::NoForkNow() noexcept : lock_(list.mutex), ready_(list.be_ready()) {}

void NoForkNow::keep(UnforkedFd& into, Fd made) const noexcept {
  into.fd_ = std::move(made);
  into.next_ = std::exchange(list.first, &into);
}

}  // namespace multiproc::os
