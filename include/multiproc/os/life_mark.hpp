// SPDX-License-Identifier: MIT
//
// multiproc/os/life_mark.hpp: a process in one 64-bit word, and the proof that it is dead.
//
// A pid alone names nobody for long: it is given to another process once its owner is reaped. Pid and time of start
// (clock ticks since boot) together are never given out twice. The word fits a shared atomic, so that whatever it owns
// is claimed and given up in one store.
//
// Only a proved death counts: no such pid, a zombie whose last thread is gone, or another process under that pid.
// Whom /proc does not show (another user's, under hidepid) is alive until the pid is free. Where this process has no
// descriptor left to look with, its own children are told from the dead all the same; of the others nothing can be
// said.
#pragma once

#include <csignal>  // pid_t
#include <cstdint>

#include <multiproc/os/result.hpp>

namespace multiproc::os {

using LifeMark = std::uint64_t;  // never 0 and below 2^60: four bits are left for whoever stores it

inline constexpr int kLifeMarkBits = 60;

/// The mark of the calling process. A failure: no /proc, or one of another pid namespace, so that nobody could prove
/// anything. Two reads of /proc: keep the answer, and forget it in a forked child.
Result<LifeMark> own_life_mark() noexcept;

pid_t pid_of(LifeMark mark) noexcept;

/// Whether the process behind `mark` is proved to have ended. A failure: the look needs a descriptor and memory for a
/// moment, and there is none (EMFILE, ENFILE, ENOMEM).
Result<bool> look_whether_gone(LifeMark mark) noexcept;

/// The same, where false may mean "can't say".
bool is_gone(LifeMark mark) noexcept;

/// Which pid namespace the caller lives in, and which time namespace, by whose clock /proc tells when a process began;
/// marks mean something only among processes that answer alike. 0: unknown.
std::uint64_t pid_namespace() noexcept;

}  // namespace multiproc::os
