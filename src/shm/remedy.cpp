// SPDX-License-Identifier: MIT

#include "shm/remedy.hpp"

#include <cerrno>

#include <multiproc/os/named_memory.hpp>

namespace multiproc::detail {

namespace {

std::string in_words(const os::Result<os::Room>& room, const char* of) {
  if (!room || room.value().total == 0) return {};
  return std::string(of) + std::to_string(room.value().free) + " of " + std::to_string(room.value().total) +
         " bytes free. ";
}

}  // namespace

std::string memory_remedy(int error) {
  switch (error) {
    case EMFILE: return "Too many descriptors are open here: close some, or raise the limit (ulimit -n)";
    case EFBIG: return "It is above this process's limit for files: ask for less, or raise the limit (ulimit -f)";
    case ENOMEM:
    case ENOSPC:
      return in_words(os::room_in_machine(), "Memory and swap have ") +
             "All of it is reserved at once: ask for less, or let go of other memory";
    default: return {};
  }
}

std::string named_memory_remedy(int error) {
  switch (error) {
    case EEXIST:
      return "The name is taken: choose another, open() what is there, or unlink() it if a process left it behind";
    case ENOENT: return "Nobody has created it, or it was unlinked";
    case EACCES:
      return "It belongs to another user, for blocks are for their creator's user alone; or its mode was changed, "
             "which "
             "its user can undo (chmod 600 in /dev/shm)";
    case EINVAL:
    case EISDIR:
    case ELOOP: return "It is no block: something else in /dev/shm has that name, a directory or a link";
    case ENAMETOOLONG: return "A name has at most 255 bytes: choose a shorter one";
    case ENOSPC:
      return in_words(os::room_for_named(), "/dev/shm has ") +
             "Ask for less, unlink what was left there, make it larger (docker run --shm-size), or take "
             "SharedMemory::anonymous(), to which its size does not matter";
    default: return memory_remedy(error);
  }
}

}  // namespace multiproc::detail
