// SPDX-License-Identifier: MIT

#include <multiproc/shm/shared_memory.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <limits>

#include <multiproc/error.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/os/named_memory.hpp>

#include "shm/remedy.hpp"

namespace multiproc {

namespace {

void require_size(std::size_t size) {
  if (size == 0) throw Unsupported("shared memory of 0 bytes: ask for at least one");
  if (size > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max())) {
    throw Unsupported("shared memory of " + std::to_string(size) +
                      " bytes: no machine has so much (was it a negative number?)");
  }
}

bool is_one_word(std::string_view name) {
  return name != "." && name != ".." && name.find_first_of(std::string_view("/\0", 2)) == name.npos;
}

std::string bare_name(std::string_view name) {
  const std::string_view given = name;
  name.remove_prefix(std::min(name.find_first_not_of('/'), name.size()));
  if (name.empty()) throw Unsupported("shared memory '" + std::string(given) + "': a name has to be given");
  if (!is_one_word(name)) {
    throw Unsupported("shared memory '" + std::string(given) +
                      "': a name is one word, without a slash or a zero byte, and not . or ..");
  }
  return std::string(name);
}

std::string called(const std::string& name) {
  return "shared memory '" + name + "'";
}

}  // namespace

SharedMemory SharedMemory::anonymous(std::size_t size) {
  require_size(size);
  return {detail::Segment::make(size, "multiproc"), {}};
}

SharedMemory SharedMemory::sparse(std::size_t size) {
  require_size(size);
  return {detail::Segment::make_sparse(size, size, "multiproc"), {}};
}

void SharedMemory::reserve(std::size_t offset, std::size_t size) {
  const detail::Segment& segment = segment_for("reserve");
  if (offset > segment.size() || segment.size() - offset < size) {
    throw Error("SharedMemory::reserve(" + std::to_string(offset) + ", " + std::to_string(size) + ") of " +
                std::to_string(segment.size()) + " bytes: the range is not within them");
  }
  segment.reserve(offset, size);
}

SharedMemory SharedMemory::create(std::string_view name, std::size_t size) {
  require_size(size);
  std::string bare = bare_name(name);
  const std::string object = called(bare) + " of " + std::to_string(size) + " bytes";
  os::Result<os::Fd> made = os::create_named(bare.c_str(), size);
  if (!made) os::throw_failure(made.failure(), object, detail::named_memory_remedy(made.error()));
  os::Result<os::Mapping> mapping = os::map_shared(made.value().get(), size);
  if (!mapping) {
    (void)os::unlink_named(bare.c_str());
    os::throw_failure(mapping.failure(), object, detail::memory_remedy(mapping.error()));
  }
  return {std::make_shared<detail::Segment>(std::move(made).value(), std::move(mapping).value()), std::move(bare)};
}

SharedMemory SharedMemory::open(std::string_view name) {
  std::string bare = bare_name(name);
  os::Result<os::Fd> opened = os::open_named(bare.c_str());
  if (!opened) os::throw_failure(opened.failure(), called(bare), detail::named_memory_remedy(opened.error()));
  const std::size_t size = os::look_at_memory(opened.value().get()).or_throw(called(bare)).size;
  if (size == 0) {
    throw InvalidState(
        "open: " + called(bare) +
        " has no size yet: its creator is about to give it one, so try again; or was killed before, then "
        "SharedMemory::unlink(name) clears it away");
  }
  const std::string object = called(bare) + " of " + std::to_string(size) + " bytes";
  const os::Result<> reserved = os::reserve_existing(opened.value().get(), size);
  if (!reserved) os::throw_failure(reserved.failure(), object, detail::named_memory_remedy(reserved.error()));
  os::Result<os::Mapping> mapping = os::map_shared(opened.value().get(), size);
  if (!mapping) os::throw_failure(mapping.failure(), object, detail::memory_remedy(mapping.error()));
  return {std::make_shared<detail::Segment>(std::move(opened).value(), std::move(mapping).value()), std::move(bare)};
}

SharedMemory SharedMemory::adopt(os::Fd memory, std::uint64_t size, std::string name) {
  const os::MemoryInfo info = os::look_at_memory(memory.get()).or_throw("received shared memory");
  if (size == 0 || info.size != size) {
    throw DecodeError("received shared memory has " + std::to_string(info.size) + " bytes, and not the " +
                      std::to_string(size) + " that were sent");
  }
  if (name.empty()) return {detail::Segment::adopt(std::move(memory)), {}};
  if (!is_one_word(name)) throw DecodeError("received shared memory has a name that can't be one");
  os::Mapping mapping = os::map_shared(memory.get(), info.size).or_throw(called(name));
  return {std::make_shared<detail::Segment>(std::move(memory), std::move(mapping)), std::move(name)};
}

SharedMemory SharedMemory::duplicate() const {
  (void)segment_for("duplicate");
  SharedMemory other{segment_, name_};
  other.unlinked_ = unlinked_;
  return other;
}

std::size_t SharedMemory::size() const {
  return segment_for("size").size();
}

const detail::Segment& SharedMemory::segment_for(const char* call) const {
  if (!segment_) throw InvalidState(std::string(call) + ": the shared memory was closed or moved from");
  return *segment_;
}

void SharedMemory::unlink() {
  if (name_.empty()) throw InvalidState("unlink: shared memory without a name has nothing to unlink");
  if (unlinked_) {
    os::throw_failure({"shm_unlink", ENOENT}, called(name_),
                      "It was unlinked before; once is enough for all processes");
  }
  const os::Result<os::MemoryInfo> ours = segment_ ? os::look_at_memory(segment_->fd()) : os::Failure{"fstat", EBADF};
  const os::Result<os::MemoryInfo> there = ours ? os::look_at_named(name_.c_str()) : ours;
  if (there && !there.value().same_as(ours.value())) {
    os::throw_failure({"shm_unlink", ENOENT}, called(name_),
                      "It was unlinked before, and another block has that name by now, which stays");
  }
  const os::Result<> done = os::unlink_named(name_.c_str());
  if (!done) os::throw_failure(done.failure(), called(name_), detail::named_memory_remedy(done.error()));
  unlinked_ = true;
}

void SharedMemory::unlink(std::string_view name) {
  const std::string bare = bare_name(name);
  const os::Result<> done = os::unlink_named(bare.c_str());
  if (!done) os::throw_failure(done.failure(), called(bare), detail::named_memory_remedy(done.error()));
}

}  // namespace multiproc
