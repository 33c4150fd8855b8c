// SPDX-License-Identifier: MIT

#include <multiproc/os/quiet_write.hpp>

#include <cxxabi.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <ctime>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <multiproc/os/poll.hpp>

#include "os/fault.hpp"

namespace multiproc::os {

namespace {

// Of Linux 6.18: the write answers EPIPE and raises no SIGPIPE. Older kernels refuse a flag they don't know. To a pipe
// this costs up to a quarter more than a bare write, holding the signal back by the mask up to as much again.
constexpr int kNoSignal = 0x100;  // RWF_NOSIGNAL

enum class Known : unsigned char { kNotYet, kYes, kNo };
std::atomic<Known> no_signal{Known::kNotYet};

// Answers of pwritev2 that may mean the call or the flag instead of the write: the kernel is too old, a filter of
// system calls is in the way, or this kind of file takes no flags at all.
bool is_refusal(int error) noexcept {
  return error == EOPNOTSUPP || error == ENOSYS || error == EINVAL || error == EPERM || error == EACCES;
}

bool is_for_another_try(int error) noexcept {
  return error == EAGAIN || error == EINTR;
}

// Asks the kernel by a pipe of our own.
[[gnu::cold]] Known ask_for_no_signal() noexcept {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) return Known::kNotYet;
  char byte = 0;
  const iovec part{&byte, 1};
  int error = fault::injected("pwritev2");
  if (error == 0 && ::pwritev2(ends[1], &part, 1, -1, kNoSignal) != 1) error = errno;
  ::close(ends[0]);
  ::close(ends[1]);
  return error == 0 ? Known::kYes : Known::kNo;
}

// One write without SIGPIPE: its errno, or 0 and in `put` how much went out.
[[gnu::noinline]] int put_with_signal_held(int fd, const iovec* parts, int count, std::size_t& put) noexcept {
  const BrokenPipeSignalHeld held;
  if (const int error = fault::injected("writev")) return error;
  const ssize_t gone = count == 1 ? ::write(fd, parts->iov_base, parts->iov_len) : ::writev(fd, parts, count);
  if (gone >= 0) {
    put = static_cast<std::size_t>(gone);
    return 0;
  }
  const int error = errno;
  if (error == EPIPE) held.take_away();
  return error;
}

// When SIGPIPE was last seen to do nothing to writes of ours; 0: look. kNever: exempt_from_sigpipe() was not called.
constexpr std::uint64_t kNever = UINT64_MAX;
constinit std::atomic<std::uint64_t> looked_at{kNever};
constexpr std::uint64_t kTrustTicks = 20'000;  // some ten microseconds

// Set while this thread is in a write of ours.
constinit thread_local volatile std::sig_atomic_t writes = 0;

// A clock that costs a few nanoseconds, and need only be right about microseconds.
std::uint64_t rough_ticks() noexcept {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#else
  return static_cast<std::uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
#endif
}

bool is_of_a_write(const siginfo_t& info) noexcept {
  return info.si_code == SI_USER && info.si_pid == ::getpid();
}

// For all but writes of ours the end that SIG_DFL would have been.
void on_broken_pipe(int, siginfo_t* info, void*) noexcept {
  if (writes != 0 && is_of_a_write(*info)) return;  // the write answers EPIPE
  const int kept = errno;
  struct sigaction standard {};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &standard, nullptr);
  ::raise(SIGPIPE);  // comes as this handler returns
  errno = kept;
}

bool is_ours(const struct sigaction& current) noexcept {
  return (current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == on_broken_pipe;
}

// A module that is unloaded takes its handler along. At the end of the program it stays: other threads may be printing.
// exit() calls what was registered last first, and so this before the destructor; dlclose() calls only the destructor,
// for the key is not that of a module.
constinit char exit_key = 0;
constinit std::atomic<bool> is_at_exit{false};

struct AtUnload {
  ~AtUnload() {
    if (is_at_exit.load()) return;
    abi::__cxa_finalize(&exit_key);
    looked_at.store(kNever);
    struct sigaction current {};
    if (::sigaction(SIGPIPE, nullptr, &current) != 0 || !is_ours(current)) return;
    current = {};
    current.sa_handler = SIG_DFL;
    ::sigaction(SIGPIPE, &current, nullptr);
  }
} const at_unload;

[[gnu::noinline]] bool look_whether_exempt(std::uint64_t now) noexcept {
  struct sigaction current {};
  if (::sigaction(SIGPIPE, nullptr, &current) != 0) return false;
  const bool is_ignored = (current.sa_flags & SA_SIGINFO) == 0 && current.sa_handler == SIG_IGN;
  if (!is_ignored && !is_ours(current)) return false;
  looked_at.store(now, std::memory_order_relaxed);
  return true;
}

bool is_exempt() noexcept {
  const std::uint64_t looked = looked_at.load(std::memory_order_relaxed);
  if (looked == kNever || fault::injected("sigaction") != 0) return false;
  const std::uint64_t now = rough_ticks();
  return now - looked < kTrustTicks || look_whether_exempt(now);
}

void take_own_sigpipe() noexcept {
  const int kept = errno;
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGPIPE);
  constexpr std::timespec kNoWait{};
  siginfo_t info{};
  int signal = 0;
  do {
    // The raw call: glibc's says SI_USER of what raise() sent. 8: the bytes of the kernel's signal set.
    signal = static_cast<int>(::syscall(SYS_rt_sigtimedwait, &only, &info, &kNoWait, 8));
  } while (signal < 0 && errno == EINTR);
  if (signal == SIGPIPE && !is_of_a_write(info)) {  // somebody sent it meanwhile: it comes when we are done
    ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), SIGPIPE, &info);
  }
  errno = kept;
}

// The bare write.
[[gnu::always_inline]] inline int put_exempt(int fd, const iovec* parts, int count, std::size_t& put) noexcept {
  if (const int error = fault::injected("write")) return error;
  writes = 1;
  const ssize_t gone = count == 1 ? ::write(fd, parts->iov_base, parts->iov_len) : ::writev(fd, parts, count);
  writes = 0;
  if (gone >= 0) {
    put = static_cast<std::size_t>(gone);
    return 0;
  }
  const int error = errno;
  if (error == EPIPE) {
    take_own_sigpipe();                             // pending, where this thread blocks it
    looked_at.store(0, std::memory_order_relaxed);  // from now on the disposition matters
  }
  return error;
}

[[gnu::always_inline]] inline int put_quietly(int fd, const iovec* parts, int count, std::size_t& put) noexcept {
  if (is_exempt()) return put_exempt(fd, parts, count, put);
  if (no_signal.load(std::memory_order_relaxed) != Known::kNo) {
    int error = fault::injected("pwritev2");
    if (error == 0) {
      const ssize_t gone = ::pwritev2(fd, parts, count, -1, kNoSignal);  // -1: at the descriptor's own position
      if (gone >= 0) {
        put = static_cast<std::size_t>(gone);
        return 0;
      }
      error = errno;
    }
    if (!is_refusal(error)) return error;
    if (no_signal.load(std::memory_order_relaxed) == Known::kNotYet) {
      no_signal.store(ask_for_no_signal(), std::memory_order_relaxed);
    }
  }
  return put_with_signal_held(fd, parts, count, put);
}

}  // namespace

void exempt_from_sigpipe() noexcept {
  struct sigaction current {};
  if (::sigaction(SIGPIPE, nullptr, &current) != 0) return;
  if ((current.sa_flags & SA_SIGINFO) == 0 && current.sa_handler == SIG_DFL) {
    struct sigaction ours {};
    ours.sa_sigaction = on_broken_pipe;
    ours.sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK;
    if (::sigaction(SIGPIPE, &ours, nullptr) == 0) {
      (void)abi::__cxa_atexit([](void*) { is_at_exit.store(true); }, nullptr, &exit_key);
    }
  }
  looked_at.store(0);
}

Result<> write_quietly(int fd, std::string_view text, std::size_t& written) noexcept {
  written = 0;
  if (text.empty()) return {};
  const iovec part{const_cast<char*>(text.data()), text.size()};
  const int error = put_quietly(fd, &part, 1, written);
  if (error == 0 && written == text.size()) return {};
  if (error != 0 && !is_for_another_try(error)) return Failure{"write", error};
  const std::size_t before = written;
  const std::string_view rest = text.substr(before);
  auto result = write_quietly(fd, {&rest, 1}, written);
  written += before;
  return result;
}

Result<> write_quietly(int fd, std::span<const std::string_view> parts, std::size_t& written) noexcept {
  written = 0;
  std::array<iovec, kMostParts> left;
  std::size_t count = 0;
  for (const std::string_view part : parts.first(std::min(parts.size(), kMostParts))) {
    if (!part.empty()) left[count++] = {const_cast<char*>(part.data()), part.size()};
  }
  for (std::size_t first = 0; first < count;) {
    std::size_t gone = 0;
    int error = put_quietly(fd, &left[first], static_cast<int>(count - first), gone);
    if (error == 0 && gone == 0) error = EIO;
    if (error != 0 && !is_for_another_try(error)) return Failure{"write", error};
    if (error == EAGAIN) {  // somebody made this descriptor non-blocking; ours is the call that blocks
      if (const auto room = wait_writable(fd, Deadline::never()); !room) return room.failure();
    }
    written += gone;
    while (first < count && gone >= left[first].iov_len) gone -= left[first++].iov_len;
    if (first < count) {
      left[first].iov_base = static_cast<char*>(left[first].iov_base) + gone;
      left[first].iov_len -= gone;
    }
  }
  return {};
}

BrokenPipeSignalHeld::BrokenPipeSignalHeld() noexcept {
  sigset_t only;
  ::sigemptyset(&only);
  ::sigaddset(&only, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &only, &before_);
  if (::sigismember(&before_, SIGPIPE) != 1) return;  // not blocked before: then none can have been pending
  sigset_t pending;
  ::sigpending(&pending);
  was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
}

BrokenPipeSignalHeld::~BrokenPipeSignalHeld() {
  const int kept = errno;
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  errno = kept;
}

void BrokenPipeSignalHeld::take_away() const noexcept {
  if (!was_pending_) take_own_sigpipe();
}

}  // namespace multiproc::os
