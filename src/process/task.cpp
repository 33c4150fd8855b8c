// SPDX-License-Identifier: MIT

#include <multiproc/process/task.hpp>

#include <cxxabi.h>

#include <cstdlib>
#include <optional>

#include <multiproc/error.hpp>
#include <multiproc/os/module.hpp>

namespace multiproc::detail {

std::string type_name(const std::type_info& type) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> readable(abi::__cxa_demangle(type.name(), nullptr, nullptr, &status),
                                                        std::free);
  return status == 0 ? readable.get() : type.name();
}

void throw_target_cannot_travel(const std::type_info& type) {
  throw multiproc::NotSendable(
      "the target (" + type_name(type) +
      ") can't be sent to a spawned process: it refers to memory of this one. Use a function, a "
      "captureless lambda, a functor with serialize(), or copied(lambda) when all captures are values; or "
      "start by StartMethod::fork");
}

void throw_argument_cannot_travel(std::size_t position, const std::type_info& type, const char* why) {
  throw multiproc::NotSendable("argument " + std::to_string(position) + " (" + type_name(type) +
                               ") can't be sent to a spawned process: " + why + "; or start by StartMethod::fork");
}

void encode_code(Encoder& out, const void* function) {
  const std::optional<os::CodeAddress> code = os::locate_code(function);
  if (!code) {
    throw multiproc::NotSendable(
        "the target can't be sent to a spawned process: its code is in no loaded file (made at run "
        "time, or null). Use a function of the program or of a shared library");
  }
  out(*code);
}

const void* decode_code(Decoder& in) {
  const os::ResolvedCode resolved = os::resolve_code(in.read<os::CodeAddress>());
  if (resolved.address == nullptr) throw DecodeError(resolved.problem);
  return resolved.address;
}

}  // namespace multiproc::detail
