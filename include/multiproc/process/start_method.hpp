// SPDX-License-Identifier: MIT
//
// multiproc/process/start_method.hpp: how a child process comes to be.
//
//   fork    A copy of this process: takes any callable and everything that it refers to. Quick while this process is
//           small, some 40 ms for each GiB it holds; safe only while it has one thread, for a lock that another thread
//           holds at the fork stays locked in the child for ever.
//   spawn   A fresh run of this program's image, to which callable and arguments are sent: about a millisecond,
//           whatever this process holds and however many threads it has. Needs main_guard() in main().
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace multiproc {

enum class StartMethod {
  fork,
  spawn,
  forkserver,  // not in this version: asking for it is an error
};

std::string_view to_string(StartMethod method) noexcept;

/// What processes use that do not say: what set_start_method() chose, and fork where nobody did.
StartMethod get_start_method() noexcept;

/// Chooses for the whole process, and for the children it starts from now on. Throws Unsupported for what is not to
/// be had. Having been chosen, fork is also used while several threads run; not chosen, it is refused then.
void set_start_method(StartMethod method);

/// The methods that this version offers here, the default first.
std::span<const StartMethod> get_all_start_methods() noexcept;

namespace detail {

/// What set_start_method() chose; nullopt: nobody did.
std::optional<StartMethod> chosen_start_method() noexcept;

/// The method that a start() uses. Throws Unsupported, or InvalidState for a fork that nobody chose while this
/// process has several threads. `process` is for the texts.
StartMethod resolve_start_method(std::optional<StartMethod> asked, std::string_view process);

}  // namespace detail
}  // namespace multiproc
