// SPDX-License-Identifier: MIT
//
// src/shm/remedy.hpp: what to do about the kernel's refusal of memory, in words for the text of a SystemError.
#pragma once

#include <string>

namespace multiproc::detail {

/// For unnamed memory and mappings; with the room that is left, where that is the matter. "": nothing is known.
std::string memory_remedy(int error);

/// For named memory; the same, and what may be the matter with names and with /dev/shm.
std::string named_memory_remedy(int error);

}  // namespace multiproc::detail
