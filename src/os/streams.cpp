// SPDX-License-Identifier: MIT

#include <multiproc/os/streams.hpp>

#include <stdio_ext.h>
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

constinit StreamList list;

// When the program is loaded, while there is one thread: a forked child can't wait for the loader's lock. 101 is the
// first priority open to programs; no constructor of theirs may flush before.
__attribute__((constructor(101))) void look_up_streams() noexcept {
  list.lock = reinterpret_cast<void (*)()>(::dlsym(RTLD_DEFAULT, "_IO_list_lock"));
  list.unlock = reinterpret_cast<void (*)()>(::dlsym(RTLD_DEFAULT, "_IO_list_unlock"));
  if (list.lock == nullptr || list.unlock == nullptr) return;
  list.first = static_cast<std::FILE**>(::dlsym(RTLD_DEFAULT, "_IO_list_all"));
}

// A look without the stream's lock, on a list whose lock ThreadSanitizer does not know.
#define MULTIPROC_UNSEEN __attribute__((no_sanitize("thread")))

[[gnu::hot]] MULTIPROC_UNSEEN bool holds_output(const std::FILE* stream) noexcept {
  return stream->_IO_write_ptr > stream->_IO_write_base || stream->_mode > 0;  // _mode: wide, held elsewhere
}

[[gnu::hot]] void flush_unless_taken(std::FILE* stream) noexcept {
  if (!holds_output(stream) || ::ftrylockfile(stream) != 0) return;
  std::fflush(stream);
  ::funlockfile(stream);
}

}  // namespace

[[gnu::hot]] MULTIPROC_UNSEEN void flush_streams() noexcept {
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

[[gnu::hot]] MULTIPROC_UNSEEN void discard_streams() noexcept {
  if (list.first == nullptr) return;
  // No lock: it is a child's only thread, and glibc holds the list whole over a fork.
  for (std::FILE* stream = *list.first; stream != nullptr; stream = stream->_chain) {
    if (holds_output(stream)) ::__fpurge(stream);
  }
}

}  // namespace multiproc::os
