// SPDX-License-Identifier: MIT
//
// multiproc/os/futex.hpp: sleeping on a 32-bit word in shared memory, and waking the sleepers.
//
// The only way in which this library sleeps in shared memory. Never the private flavour (FUTEX_PRIVATE_FLAG keys the
// sleep on this process's address space), and therefore never std::atomic::wait, whose futex is private.
//
// Death       A sleeper that is killed is forgotten by the kernel. A waker waits for nobody.
#pragma once

#include <atomic>
#include <cstdint>

#include <multiproc/deadline.hpp>
#include <multiproc/os/result.hpp>

namespace multiproc::os {

enum class WaitOutcome {
  woken,          // somebody called futex_wake, or the kernel woke us for no reason: look at the word
  value_changed,  // the word was not `expected` when the kernel looked
  timed_out,
};

/// Sleeps while `word` holds `expected`, until woken or the deadline. Resumes after signals.
Result<WaitOutcome> futex_wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                               Deadline deadline) noexcept;

/// Wakes up to `count` sleepers on `word`, in this and in every other process. Returns how many woke.
Result<int> futex_wake(const std::atomic<std::uint32_t>& word, int count) noexcept;

}  // namespace multiproc::os
