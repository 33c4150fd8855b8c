// SPDX-License-Identifier: MIT

#include <multiproc/os/module.hpp>

#include <cinttypes>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>

#include <dlfcn.h>
#include <elf.h>
#include <link.h>

namespace multiproc::os {

namespace {

using Visitor = std::function<bool(const dl_phdr_info&)>;  // true: found, stop

bool visit_modules(const Visitor& visitor) {
  return ::dl_iterate_phdr([](dl_phdr_info* module, std::size_t,
                              void* data) { return (*static_cast<const Visitor*>(data))(*module) ? 1 : 0; },
                           const_cast<Visitor*>(&visitor)) != 0;
}

const std::byte* at(const dl_phdr_info& module, std::uint64_t offset) {
  return reinterpret_cast<const std::byte*>(module.dlpi_addr + offset);
}

bool is_code(const dl_phdr_info& module, std::uint64_t offset) {
  for (int i = 0; i < module.dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = module.dlpi_phdr[i];
    if (part.p_type == PT_LOAD && (part.p_flags & PF_X) != 0 && offset >= part.p_vaddr &&
        offset - part.p_vaddr < part.p_memsz) {
      return true;
    }
  }
  return false;
}

std::string linker_build_id(const dl_phdr_info& module) {
  constexpr auto padded = [](std::size_t size) { return (size + 3) & ~std::size_t{3}; };
  for (int i = 0; i < module.dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = module.dlpi_phdr[i];
    if (part.p_type != PT_NOTE) continue;
    const std::byte* note = at(module, part.p_vaddr);
    const std::byte* const end = note + part.p_memsz;
    while (end - note >= static_cast<std::ptrdiff_t>(sizeof(ElfW(Nhdr)))) {
      ElfW(Nhdr) header;
      std::memcpy(&header, note, sizeof header);
      const std::byte* const name = note + sizeof header;
      const std::byte* const content = name + padded(header.n_namesz);
      if (end - content < static_cast<std::ptrdiff_t>(header.n_descsz)) break;
      if (header.n_type == NT_GNU_BUILD_ID && header.n_namesz == 4 && std::memcmp(name, "GNU", 4) == 0) {
        return {reinterpret_cast<const char*>(content), header.n_descsz};
      }
      note = content + padded(header.n_descsz);
    }
  }
  return {};
}

// FNV-1a over the executable segments, eight bytes at a step. The loader does not write there, so that every process
// that maps the same file sees the same.
std::string code_hash(const dl_phdr_info& module) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (int i = 0; i < module.dlpi_phnum; ++i) {
    const ElfW(Phdr)& part = module.dlpi_phdr[i];
    if (part.p_type != PT_LOAD || (part.p_flags & PF_X) == 0) continue;
    const std::byte* const code = at(module, part.p_vaddr);
    for (std::size_t done = 0; done + sizeof hash <= part.p_filesz; done += sizeof hash) {
      std::uint64_t word = 0;
      std::memcpy(&word, code + done, sizeof word);
      hash = (hash ^ word) * 0x100000001b3;
    }
  }
  std::string text = "code:";
  text.append(reinterpret_cast<const char*>(&hash), sizeof hash);
  return text;
}

std::string identity(const dl_phdr_info& module) {
  std::string id = linker_build_id(module);
  return id.empty() ? code_hash(module) : id;
}

// The file that is mapped at `address`, by its absolute path; empty where /proc can't tell.
std::string mapped_file(std::uintptr_t address) {
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {  // "55d0-55d4 r-xp 00002000 08:02 173521   /usr/lib/a.so"
    std::uintptr_t first = 0;
    std::uintptr_t last = 0;
    if (std::sscanf(line.c_str(), "%" SCNxPTR "-%" SCNxPTR, &first, &last) != 2) continue;
    if (address < first || address >= last) continue;
    const std::size_t path = line.find('/');
    return path == std::string::npos ? std::string{} : line.substr(path);
  }
  return {};
}

// Where the loader has it from. dlopen("./a.so") leaves a relative path, which names another file, or none, as soon as
// somebody changes directory.
std::string path_of(const dl_phdr_info& module, std::uintptr_t code) {
  std::string path = module.dlpi_name != nullptr ? module.dlpi_name : "";
  if (path.find('/') == std::string::npos || path.front() == '/') return path;
  std::string absolute = mapped_file(code);
  return absolute.empty() ? path : absolute;
}

const void* find(const CodeAddress& code) {
  const void* found = nullptr;
  visit_modules([&](const dl_phdr_info& module) {
    if (!is_code(module, code.offset) || identity(module) != code.build_id) return false;
    found = at(module, code.offset);
    return true;
  });
  return found;
}

}  // namespace

std::optional<CodeAddress> locate_code(const void* function) {
  std::optional<CodeAddress> located;
  const auto address = reinterpret_cast<std::uintptr_t>(function);
  visit_modules([&](const dl_phdr_info& module) {
    const std::uint64_t offset = address - module.dlpi_addr;
    if (address < module.dlpi_addr || !is_code(module, offset)) return false;
    located = CodeAddress{identity(module), path_of(module, address), offset};
    return true;
  });
  return located;
}

ResolvedCode resolve_code(const CodeAddress& code) {
  if (const void* loaded = find(code)) return {loaded, {}};
  if (code.path.empty()) {
    return {nullptr, "the executable of this process is not the one that the function belongs to (build ids differ)"};
  }
  // Kept loaded for good if it is the right one: the function is about to run.
  void* const library = ::dlopen(code.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    return {nullptr, std::string("the library of the function can't be loaded: ") + (reason != nullptr ? reason : "?")};
  }
  if (const void* loaded = find(code)) return {loaded, {}};
  ::dlclose(library);
  return {nullptr, "the library " + code.path + " is not the one that the function belongs to (build ids differ)"};
}

}  // namespace multiproc::os
