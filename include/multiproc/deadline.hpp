// SPDX-License-Identifier: MIT
//
// multiproc/deadline.hpp: how long a call may block.
//
// A Deadline is a point on the monotonic clock. It is made without ceremony from any duration, counted from now, or
// from a steady_clock time point: child.join(5s). It bounds the whole call: an interrupted or partial wait goes on
// with what is left, without arithmetic. A past or negative one means "look once, do not wait".
#pragma once

#include <chrono>
#include <ctime>
#include <optional>

namespace multiproc {

class Deadline {
 public:
  using Clock = std::chrono::steady_clock;

  /// `from_now` after this moment. What would lie beyond the clock's range (some 292 years) is never().
  template <class Rep, class Period>
  Deadline(std::chrono::duration<Rep, Period> from_now) : Deadline(after(from_now)) {}

  Deadline(Clock::time_point at) noexcept : at_(at) {}

  static Deadline never() noexcept { return Deadline(Clock::time_point::max()); }
  static Deadline now() noexcept { return Deadline(Clock::time_point::min()); }

  bool is_never() const noexcept { return at_ == Clock::time_point::max(); }
  bool passed() const noexcept { return !is_never() && (at_ == Clock::time_point::min() || Clock::now() >= at_); }
  Clock::time_point time_point() const noexcept { return at_; }

  /// What is left, never negative; nanoseconds::max() for never().
  std::chrono::nanoseconds remaining() const noexcept {
    if (is_never()) return std::chrono::nanoseconds::max();
    if (at_ == Clock::time_point::min()) return std::chrono::nanoseconds::zero();
    const auto now = Clock::now();
    return at_ > now ? at_ - now : std::chrono::nanoseconds::zero();
  }

  /// The same point as CLOCK_MONOTONIC wants it; nullopt for never().
  std::optional<std::timespec> as_monotonic() const noexcept {
    if (is_never()) return std::nullopt;
    const auto since =
        at_.time_since_epoch() > Clock::duration::zero() ? at_.time_since_epoch() : Clock::duration::zero();
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since);
    return std::timespec{static_cast<std::time_t>(seconds.count()),
                         static_cast<long>(std::chrono::nanoseconds(since - seconds).count())};
  }

  /// The earlier of two.
  static Deadline earlier(Deadline a, Deadline b) noexcept { return a.at_ < b.at_ ? a : b; }

 private:
  template <class Rep, class Period>
  static Clock::time_point after(std::chrono::duration<Rep, Period> from_now) noexcept {
    using Seconds = std::chrono::duration<long double>;
    const auto asked = std::chrono::duration_cast<Seconds>(from_now);
    if (!(asked > Seconds::zero())) return Clock::time_point::min();  // NaN too: look once
    const auto now = Clock::now();
    if (asked >= std::chrono::duration_cast<Seconds>(Clock::time_point::max() - now)) return Clock::time_point::max();
    return now + std::chrono::duration_cast<Clock::duration>(from_now);
  }

  Clock::time_point at_;
};

namespace detail {

/// Waits until a time of any clock, by a call that takes a Deadline and answers false at it: anew as long as that clock
/// has not come so far.
template <class Clock, class Duration, class Wait>
auto wait_until_clock(const std::chrono::time_point<Clock, Duration>& at, Wait wait) {
  for (;;) {
    const auto now = Clock::now();
    if (now >= at) return wait(Deadline::now());
    if (const auto done = wait(Deadline(at - now))) return done;
  }
}

}  // namespace detail
}  // namespace multiproc
