// SPDX-License-Identifier: MIT

#include <multiproc/process/start_method.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/self.hpp>

namespace multiproc {

namespace {

constexpr std::array kOffered{StartMethod::fork, StartMethod::spawn};
constexpr int kNobody = -1;

std::atomic<int> chosen{kNobody};

void require_offered(StartMethod method) {
  if (std::ranges::find(kOffered, method) != kOffered.end()) return;
  throw Unsupported("start method '" + std::string(to_string(method)) +
                    "' is not available in this version. Use StartMethod::spawn or StartMethod::fork");
}

}  // namespace

std::string_view to_string(StartMethod method) noexcept {
  switch (method) {
    case StartMethod::fork: return "fork";
    case StartMethod::spawn: return "spawn";
    case StartMethod::forkserver: return "forkserver";
  }
  return "unknown";
}

StartMethod get_start_method() noexcept {
  return detail::chosen_start_method().value_or(StartMethod::fork);
}

void set_start_method(StartMethod method) {
  require_offered(method);
  chosen.store(static_cast<int>(method), std::memory_order_relaxed);
}

std::span<const StartMethod> get_all_start_methods() noexcept {
  return kOffered;
}

std::optional<StartMethod> detail::chosen_start_method() noexcept {
  const int method = chosen.load(std::memory_order_relaxed);
  return method == kNobody ? std::nullopt : std::optional(static_cast<StartMethod>(method));
}

StartMethod detail::resolve_start_method(std::optional<StartMethod> asked, std::string_view process) {
  if (!asked) asked = chosen_start_method();
  if (asked) {
    require_offered(*asked);
    return *asked;
  }
  const unsigned threads = os::thread_count();
  if (threads == 1) return StartMethod::fork;
  const std::string count = threads == 0 ? "several" : std::to_string(threads);
  throw InvalidState("process '" + std::string(process) + "': this process has " + count +
                     " threads, and a fork would copy the locks that they hold but not the threads that will release "
                     "them. Say which way out you want: ProcessOptions{.start_method = StartMethod::spawn} or "
                     "set_start_method(StartMethod::spawn), which are safe; or {.start_method = StartMethod::fork}, "
                     "if you know that the child touches no such lock");
}

}  // namespace multiproc
