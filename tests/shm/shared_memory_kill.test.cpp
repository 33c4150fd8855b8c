// SPDX-License-Identifier: MIT
//
// Named shared memory, killed before and after each system call: what is left is what the header says. For a moment it
// leaves names that nobody holds, which other tests would report: it runs alone.

#include <multiproc/shm/shared_memory.hpp>

#include <cerrno>
#include <cstddef>
#include <string>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>

#include "support/kill_step.hpp"

namespace {

using multiproc::InvalidState;
using multiproc::SharedMemory;
using multiproc::SystemError;
using support::Findings;
using support::KillAt;
using support::KillStep;

// A name that is taken away by whoever finds it.
struct Name {
  std::string text = "multiproc-kill-test." + std::to_string(::getpid());

  static bool clear(const std::string& name) {
    try {
      SharedMemory::unlink(name);
      return true;
    } catch (const SystemError&) {
      return false;
    }
  }
};

TEST(SharedMemoryKillTest, Create) {
  constexpr std::size_t kSize = 10'000;
  KillStep<Name>{
      .name = "SharedMemory::create",
      .setup = [] { return Name{}; },
      .operation = [](Name& name) { (void)SharedMemory::create(name.text, kSize); },
      .warm_up =
          [](Name&) {
            const std::string other = "multiproc-kill-warm." + std::to_string(::getpid());
            (void)SharedMemory::create(other, kSize);
            SharedMemory::unlink(other);
          },
      .check =
          [](Name& name, Findings& found) {
            try {
              const std::size_t size = SharedMemory::open(name.text).size();
              if (size != kSize) found.corrupt("a size of " + std::to_string(size));
              if (!Name::clear(name.text)) found.leaked("the name");
            } catch (const InvalidState&) {  // no size yet: as documented
              if (!Name::clear(name.text)) found.leaked("the name");
            } catch (const SystemError& error) {
              if (error.code().value() != ENOENT) found.corrupt(error.what());
            }
            (void)SharedMemory::create(name.text, kSize);
            SharedMemory::unlink(name.text);
          },
      .kill_at = KillAt::every_system_call,
  }
      .run();
}

TEST(SharedMemoryKillTest, OpenAndUnlink) {
  const auto create = [](Name& name) { (void)SharedMemory::create(name.text, 10'000); };
  KillStep<Name>{
      .name = "SharedMemory::open, unlink",
      .setup = [] { return Name{}; },
      .operation =
          [](Name& name) {
            SharedMemory memory = SharedMemory::open(name.text);
            memory.bytes().front() = std::byte{1};
            memory.unlink();
          },
      .warm_up =
          [](Name&) {
            const std::string other = "multiproc-kill-warm." + std::to_string(::getpid());
            (void)SharedMemory::create(other, 100);
            SharedMemory::open(other).unlink();
          },
      .stages = {{.name = "partner has created it", .before = create}},
      .check = [](Name& name, Findings&) { (void)Name::clear(name.text); },
      .kill_at = KillAt::every_system_call,
  }
      .run();
}

}  // namespace
