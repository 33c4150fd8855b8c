// SPDX-License-Identifier: MIT

#include <multiproc/shm/shared_const.hpp>

#include <algorithm>
#include <cerrno>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/os/constant_memory.hpp>

#include "shm/remedy.hpp"

namespace multiproc::detail {

std::shared_ptr<const ConstBlock> ConstBlock::make(std::span<const std::byte> bytes) {
  if (bytes.empty()) return std::make_shared<const ConstBlock>();
  const std::string object = "a shared constant of " + std::to_string(bytes.size()) + " bytes";
  os::Result<os::Fd> memory = os::make_constant("multiproc constant", bytes);
  if (!memory && (memory.error() == EPERM || memory.error() == ENOSYS)) {
    auto mapping = os::map_inheritable(bytes.size()).or_throw(object, memory_remedy(ENOMEM));
    std::ranges::copy(bytes, mapping.bytes().begin());
    return std::make_shared<const ConstBlock>(os::Fd{}, std::move(mapping));
  }
  if (!memory) os::throw_failure(memory.failure(), object, memory_remedy(memory.error()));
  os::Result<os::Mapping> mapping = os::map_shared(memory.value().get(), bytes.size(), false);
  if (!mapping) os::throw_failure(mapping.failure(), object, memory_remedy(mapping.error()));
  return std::make_shared<const ConstBlock>(std::move(memory).value(), std::move(mapping).value());
}

os::Fd ConstBlock::descriptor() const {
  if (!memory_) {
    throw Unsupported(
        "this constant can't be sent: the kernel gave no memfd for it (a sandbox's filter?). Forked children inherit "
        "it");
  }
  return os::duplicate_fd(memory_.get()).or_throw("a shared constant to be sent", memory_remedy(EMFILE));
}

std::shared_ptr<const ConstBlock> ConstBlock::adopt(os::Fd memory, std::uint64_t size, std::size_t each,
                                                    bool is_range) {
  if (is_range ? size % each != 0 : size != each) throw DecodeError("a shared constant of another type was received");
  if (size == 0) return std::make_shared<const ConstBlock>();
  const os::MemoryInfo info = os::look_at_memory(memory.get()).or_throw("received constant");
  if (!info.keeps_its_size || info.size != size) {
    throw DecodeError("a shared constant was received whose memory is not what was sent");
  }
  os::Mapping mapping = os::map_shared(memory.get(), info.size, false).or_throw("received constant");
  return std::make_shared<const ConstBlock>(std::move(memory), std::move(mapping));
}

}  // namespace multiproc::detail
