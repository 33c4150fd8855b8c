// SPDX-License-Identifier: MIT
//
// src/process/print_family.hpp: the processes of one program tree that print by one page (print_page.hpp), and how that
// page comes to them: a forked child inherits it, a spawned one is handed its descriptor.
//
// A page is made once, before the first fork or at the first print, whichever comes first. Where the kernel refuses a
// descriptor it is for forked children alone; where it refuses both, every print takes the exact path: no failure.
//
// Stands on   os/memory.hpp, os/at_fork.hpp.
#pragma once

#include <multiproc/os/fd.hpp>

namespace multiproc::detail {

/// Makes the family of this process, if it has none.
void create_print_family() noexcept;

/// The descriptor for a spawned child, close-on-exec, or -1. It stays ours.
int print_family_fd() noexcept;

/// In a spawned child: joins the parent's family. What is no such page of the same layout is closed and forgotten. What
/// the child forked before (out of a constructor, ahead of main) stays in the family that it had: then both print by
/// exact locks alone from here on.
void adopt_print_family(os::Fd memory) noexcept;

/// Gives this process's slots back; the next print claims anew. Runs at exit(); for a child that ends by _exit.
void leave_print_family() noexcept;

}  // namespace multiproc::detail
