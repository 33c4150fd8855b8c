// SPDX-License-Identifier: MIT

#include <multiproc/os/streams.hpp>

#include <stdio_ext.h>
#include <atomic>
#include <cstdio>

#include <dlfcn.h>
#include <sys/single_threaded.h>

namespace multiproc::os {

namespace {

// glibc's list of all streams and its lock: exported by every glibc, declared by none of its headers. The fields of
// FILE used below are those that <stdio.h> itself shows.
struct StreamList {
  std::FILE** first = nullptr;
  void (*lock)() = nullptr;
  void (*unlock)() = nullptr;
};

StreamList list;
std::atomic<bool> looked_up{false};

[[gnu::hot]] bool holds_output(const std::FILE* stream) noexcept {
  return stream->_IO_write_ptr > stream->_IO_write_base || stream->_mode > 0;  // _mode: wide, held elsewhere
}

[[gnu::hot]] void flush_unless_taken(std::FILE* stream) noexcept {
  if (!holds_output(stream) || ::ftrylockfile(stream) != 0) return;
  std::fflush(stream);
  ::funlockfile(stream);
}

}  // namespace

[[gnu::hot]] void prepare_flush_streams() noexcept {
  if (looked_up.load(std::memory_order_acquire)) return;
  list.first = static_cast<std::FILE**>(::dlsym(RTLD_DEFAULT, "_IO_list_all"));
  list.lock = reinterpret_cast<void (*)()>(::dlsym(RTLD_DEFAULT, "_IO_list_lock"));
  list.unlock = reinterpret_cast<void (*)()>(::dlsym(RTLD_DEFAULT, "_IO_list_unlock"));
  if (list.lock == nullptr || list.unlock == nullptr) list.first = nullptr;
  looked_up.store(true, std::memory_order_release);
}

[[gnu::hot]] void flush_streams() noexcept {
  prepare_flush_streams();
  if (list.first == nullptr) {  // a static glibc
    flush_unless_taken(stdout);
    flush_unless_taken(stderr);
    return;
  }
  const bool shared = __libc_single_threaded == 0;
  if (shared) list.lock();
  for (std::FILE* stream = *list.first; stream != nullptr; stream = stream->_chain) flush_unless_taken(stream);
  if (shared) list.unlock();
}

[[gnu::hot]] void discard_streams() noexcept {
  if (list.first == nullptr) return;
  // No lock: it is a child's only thread, and glibc holds the list whole over a fork.
  for (std::FILE* stream = *list.first; stream != nullptr; stream = stream->_chain) {
    if (holds_output(stream)) ::__fpurge(stream);
  }
}

}  // namespace multiproc::os
