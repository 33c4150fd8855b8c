// SPDX-License-Identifier: MIT
//
// multiproc/os/module.hpp: addresses of functions that mean the same in another process.
//
// Where a module (the executable, a shared library) is mapped differs from process to process; the distance of a
// function from the module's start does not. So a function travels as the module's identity and an offset. The
// identity is the build id that the linker wrote (NT_GNU_BUILD_ID), or, where it wrote none, a hash of the module's
// code. A module that is not the same is an error, never a jump into nowhere.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace multiproc::os {

struct CodeAddress {
  std::string build_id;      // bytes
  std::string path;          // where the library was loaded from, absolute; "" for the executable
  std::uint64_t offset = 0;  // from the module's load address
};

/// The travelling form of a function of this process; nullopt when `function` lies in no loaded module (code made at
/// run time), which can't travel.
std::optional<CodeAddress> locate_code(const void* function);

/// What locate_code made in another process, here. Loads the library if it isn't yet. On failure `address` is null and
/// `problem` a sentence.
struct ResolvedCode {
  const void* address = nullptr;
  std::string problem;
};
ResolvedCode resolve_code(const CodeAddress& code);

}  // namespace multiproc::os
