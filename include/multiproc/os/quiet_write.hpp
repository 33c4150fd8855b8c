// SPDX-License-Identifier: MIT
//
// multiproc/os/quiet_write.hpp: writing all of a text to a descriptor without being killed for it: a reader that has
// gone is an errno and no SIGPIPE. Any thread may call, a signal handler may not.
//
// Death       A killed writer may leave a part of its text. A reader that dies is EPIPE, for the text that is on its
//             way too.
#pragma once

#include <csignal>  // sigset_t
#include <cstddef>
#include <span>
#include <string_view>

#include <multiproc/os/result.hpp>

namespace multiproc::os {

inline constexpr std::size_t kMostParts = 8;  // that one write_quietly takes

/// Makes the writes below cheaper: they go out as bare write(2), which costs a fifth less. Where SIGPIPE is at its
/// default it gets a handler, which lets those writes pass and does for everybody else's what the default does;
/// executed programs don't inherit it. A disposition that the program chooses, before or later, stands, and the writes
/// go out as if this had not been called; but it is looked at every ten microseconds only, so that a write that soon
/// after the choice is subject to it.
void exempt_from_sigpipe() noexcept;

/// Writes `parts` one after the other, in one system call where the kernel takes them. Goes on after signals and after
/// a short write, waits while a non-blocking descriptor has no room. A reader that is gone is EPIPE and never SIGPIPE,
/// whatever the program does with that signal, before or meanwhile: the call itself asks for none (RWF_NOSIGNAL, Linux
/// 6.18); an older kernel is kept from delivering it by BrokenPipeSignalHeld. `written` receives how many bytes went
/// out, also on failure. Up to kMostParts parts. Blocks; any thread.
Result<> write_quietly(int fd, std::span<const std::string_view> parts, std::size_t& written) noexcept;

/// The same for one text.
Result<> write_quietly(int fd, std::string_view text, std::size_t& written) noexcept;

/// Holds SIGPIPE back from the calling thread while it lives; take_away() removes the one that a write of ours raised,
/// and leaves one that was pending before or that somebody sent meanwhile.
class BrokenPipeSignalHeld {
 public:
  BrokenPipeSignalHeld() noexcept;
  ~BrokenPipeSignalHeld();
  BrokenPipeSignalHeld(const BrokenPipeSignalHeld&) = delete;
  BrokenPipeSignalHeld& operator=(const BrokenPipeSignalHeld&) = delete;

  void take_away() const noexcept;

 private:
  sigset_t before_;
  bool was_pending_ = false;
};

}  // namespace multiproc::os
