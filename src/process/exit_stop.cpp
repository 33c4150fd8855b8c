// SPDX-License-Identifier: MIT

#include "process/exit_stop.hpp"

#include <cxxabi.h>

#include <cstdlib>

#include <multiproc/os/at_fork.hpp>

#include "os/sanitizer.hpp"
#include "process/child_main.hpp"
#include "process/identity.hpp"

namespace multiproc::detail {

namespace {

// __cxa_atexit is what can be taken back: by its last argument, which is meant to be a module's, and need only be
// unique. Taking back costs more than adding, so a few pile up.
constinit char key = 0;
constexpr int kPile = 8;
constinit int piled = 0;  // under the mutex

thread_local bool takes_back = false;  // __cxa_finalize calls what it takes back

// glibc hands its handlers the exit code too, which the declaration of __cxa_atexit leaves out.
void stop_exit(void*, int code) {
  if (identity().is_forked && !takes_back) end_forked(code);
}

void take_back() noexcept {
  const bool is_forked = identity().is_forked;  // not to be written for nothing
  if (is_forked) takes_back = true;
  abi::__cxa_finalize(&key);
  if (is_forked) takes_back = false;
  piled = 0;
}

// A module that is unloaded takes its handlers along.
struct AtUnload {
  ~AtUnload() { take_back(); }
} const at_unload;

}  // namespace

void put_exit_stop_in_front() noexcept {
  if (os::kThreadSanitizer) return;
  // So that no thread forks between the two, nor while another holds the lock of glibc's list by our doing.
  static auto& mutex = *new os::ForkMutex;
  const os::ForkLock lock(mutex);
  if (piled >= kPile) take_back();
  // Refused when exit() is past its last handler: then there is nothing left to keep from the child.
  (void)abi::__cxa_atexit(reinterpret_cast<void (*)(void*)>(reinterpret_cast<void (*)()>(&stop_exit)), nullptr, &key);
  ++piled;
}

void stop_exit_here() noexcept {
  ::on_exit([](int code, void*) { end_forked(code); }, nullptr);
}

}  // namespace multiproc::detail
