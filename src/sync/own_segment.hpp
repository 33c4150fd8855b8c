// SPDX-License-Identifier: MIT
//
// src/sync/own_segment.hpp: memory for one object, whose refusal says for what it was and what to do.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>
#include <multiproc/shm/segment.hpp>

#include "shm/remedy.hpp"

namespace multiproc::detail {

/// What `make` returns. The SystemError that it throws gets the name of the object and the remedy.
template <class Make>
auto with_remedy(const std::string& object, Make&& make) {
  try {
    return make();
  } catch (const SystemError& refused) {
    const std::string text = refused.what();  // "call: ..."
    const std::string call = text.substr(0, text.find(": "));
    const int error = refused.code().value();
    os::throw_failure({call.c_str(), error}, object, memory_remedy(error));
  }
}

inline std::shared_ptr<Segment> make_own_segment(std::size_t size, const char* label, const std::string& object) {
  return with_remedy(object, [&] { return Segment::make(size, label); });
}

}  // namespace multiproc::detail
