// SPDX-License-Identifier: MIT
//
// src/sync/own_segment.hpp: a segment for one object, whose refusal says what to do.
#pragma once

#include <memory>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/result.hpp>
#include <multiproc/shm/segment.hpp>

#include "shm/remedy.hpp"

namespace multiproc::detail {

inline std::shared_ptr<Segment> make_own_segment(std::size_t size, const char* label) {
  try {
    return Segment::make(size, label);
  } catch (const SystemError& refused) {
    const int error = refused.code().value();
    os::throw_failure({"new shared memory", error}, std::string(label) + " of " + std::to_string(size) + " bytes",
                      memory_remedy(error));
  }
}

}  // namespace multiproc::detail
