// SPDX-License-Identifier: MIT
//
// support/loader.hpp: the dynamic loader, by which a program can be run without being executed: `ld.so program`.
#pragma once

#include <span>
#include <string>

#include <link.h>

namespace support {

/// The path of the loader that this program asks for; empty where it is linked statically.
inline std::string loader() {
  std::string path;
  const auto look = [](dl_phdr_info* program, std::size_t, void* found) {
    for (const auto& part : std::span(program->dlpi_phdr, program->dlpi_phnum)) {
      if (part.p_type != PT_INTERP) continue;
      *static_cast<std::string*>(found) = reinterpret_cast<const char*>(program->dlpi_addr + part.p_vaddr);
    }
    return 1;
  };
  ::dl_iterate_phdr(look, &path);
  return path;
}

}  // namespace support
