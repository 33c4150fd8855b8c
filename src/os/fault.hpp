// SPDX-License-Identifier: MIT
//
// src/os/fault.hpp: the seam through which a test makes the kernel refuse.
//
// Every system call of src/os asks injected("name") first. Nobody armed: one relaxed load. Armed: the n-th call of
// that name in this process answers the chosen errno instead of being made. Forked children inherit what is armed.
#pragma once

#include <atomic>

namespace multiproc::os::fault {

namespace detail {
extern std::atomic<bool> armed;
int consult(const char* call) noexcept;
}  // namespace detail

/// The errno that this call shall answer, or 0: make the call.
inline int injected(const char* call) noexcept {
  return detail::armed.load(std::memory_order_relaxed) ? detail::consult(call) : 0;
}

/// From now on the calls `nth`, `nth`+1, ... (`times` of them) of `call` answer `error`. Up to 16 rules at once.
void arm(const char* call, int error, int nth = 1, int times = 1) noexcept;

/// Forgets all rules.
void disarm() noexcept;

/// How often `call` was consulted since arm(); for tests that sweep over every call.
int seen(const char* call) noexcept;

}  // namespace multiproc::os::fault
