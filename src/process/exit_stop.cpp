// SPDX-License-Identifier: MIT

#include "process/exit_stop.hpp"

#include <cxxabi.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>

#include <multiproc/os/at_fork.hpp>

#include "os/sanitizer.hpp"
#include "process/child_main.hpp"
#include "process/identity.hpp"

namespace multiproc::detail {

namespace {

// __cxa_atexit is what can be taken back: by its last argument, which is meant to be a module's, and need only be
// unique.
constinit char key = 0;
constinit std::atomic<std::int64_t> put_at{0};  // when it was put in front last
constexpr std::chrono::milliseconds kFresh{10};

constinit os::ForkMutex mutex;  // so that no thread forks while another holds the lock of glibc's list by our doing
[[maybe_unused]] const bool is_enlisted = mutex.enlist();

thread_local bool takes_back = false;  // __cxa_finalize calls what it takes back

// glibc hands its handlers the exit code too, which the declaration of __cxa_atexit leaves out.
void stop_exit(void*, int code) {
  if (identity().is_forked && !takes_back) end_forked(code);
}

void take_back() noexcept {
  takes_back = true;
  abi::__cxa_finalize(&key);
  takes_back = false;
}

// Refused when exit() is past its last handler: then there is nothing left to keep from the child.
void put() noexcept {
  (void)abi::__cxa_atexit(reinterpret_cast<void (*)(void*)>(reinterpret_cast<void (*)()>(&stop_exit)), nullptr, &key);
}

// exit() runs the destructors of its thread's objects before it looks at the handlers.
struct AtExitOfThread {
  ~AtExitOfThread() {
    if (!identity().is_forked) return;
    const os::ForkLock lock(mutex);
    take_back();
    put();
  }
};

// A module that is unloaded takes its handlers along.
struct AtUnload {
  ~AtUnload() {
    const os::ForkLock lock(mutex);
    take_back();
  }
} const at_unload;

}  // namespace

void put_exit_stop_in_front() noexcept {
  if (os::kThreadSanitizer) return;
  static thread_local const AtExitOfThread at_exit_of_thread;
  (void)at_exit_of_thread;
  const auto now = std::chrono::steady_clock::now().time_since_epoch().count();
  if (now - put_at.load(std::memory_order_relaxed) < std::chrono::nanoseconds(kFresh).count()) return;
  const os::ForkLock lock(mutex);
  take_back();
  put();
  put_at.store(now, std::memory_order_relaxed);
}

void stop_exit_here() noexcept {
  ::on_exit([](int code, void*) { end_forked(code); }, nullptr);
}

}  // namespace multiproc::detail
