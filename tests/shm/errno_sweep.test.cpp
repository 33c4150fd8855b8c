// SPDX-License-Identifier: MIT
//
// Shared memory under a kernel that refuses: whichever call, whatever error.

#include "shm/errno_sweep.hpp"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>
#include <multiproc/shm/shared_const.hpp>
#include <multiproc/shm/shared_memory.hpp>

namespace {

using multiproc::SharedConst;
using multiproc::SharedMemory;
using multiproc::SystemError;
using sweep_test::expect_clean_sweep;

constexpr std::size_t kSize = 100'000;

std::string a_name() {
  return "multiproc-errno-sweep." + std::to_string(::getpid());
}

void expect_no_such_name(const std::string& name) {
  try {
    (void)SharedMemory::open(name);
    ADD_FAILURE() << "the name is left";
    SharedMemory::unlink(name);
  } catch (const SystemError& error) {
    EXPECT_EQ(error.code().value(), ENOENT) << error.what();
  }
}

TEST(ShmErrnoSweepTest, Anonymous) {
  expect_clean_sweep({.calls = {"memfd_create", "fallocate", "fcntl", "mmap", "fstat"},
                      .object = "shared memory of 100000 bytes",
                      .act = [] {
                        SharedMemory memory = SharedMemory::anonymous(kSize);
                        memory.bytes().back() = std::byte{1};
                      }});
}

TEST(ShmErrnoSweepTest, Create) {
  const std::string name = a_name();
  expect_clean_sweep({.calls = {"shm_open", "posix_fallocate", "mmap"},
                      .object = "shared memory '" + name + "'",
                      .act =
                          [name] {
                            SharedMemory memory = SharedMemory::create(name, kSize);
                            memory.bytes().back() = std::byte{1};
                          },
                      .on_refusal = [name] { expect_no_such_name(name); },
                      .on_end = [name] { SharedMemory::unlink(name); }});
}

TEST(ShmErrnoSweepTest, Open) {
  const std::string name = a_name();
  SharedMemory there = SharedMemory::create(name, kSize);
  expect_clean_sweep({.calls = {"shm_open", "fstat", "mmap"}, .object = "shared memory '" + name + "'", .act = [name] {
                        EXPECT_EQ(SharedMemory::open(name).size(), kSize);
                      }});
  there.unlink();
}

TEST(ShmErrnoSweepTest, Unlink) {
  const std::string name = a_name();
  expect_clean_sweep({.calls = {"shm_unlink"},
                      .object = "shared memory '" + name + "'",
                      .before = [name] { (void)SharedMemory::create(name, kSize); },
                      .act = [name] { SharedMemory::unlink(name); },
                      .on_refusal = [name] { EXPECT_EQ(SharedMemory::open(name).size(), kSize) << "it stays"; },
                      .on_end = [name] { expect_no_such_name(name); }});
}

TEST(ShmErrnoSweepTest, Constant) {
  const std::vector<int> numbers(25'000, 7);
  expect_clean_sweep({.calls = {"memfd_create", "write", "fcntl", "mmap"},
                      .object = "a shared constant of 100000 bytes",
                      .act = [&numbers] {
                        const SharedConst constant(numbers);
                        EXPECT_EQ(constant[24'999], 7);
                      }});
}

TEST(ShmErrnoSweepTest, ARemedyThatCanNotFindOutTheRoomIsSaidWithoutIt) {
  const auto child = support::in_child([] {
    for (const int error : {ENOMEM, ENOSPC, EFBIG, EMFILE}) {
      multiproc::os::fault::arm("fallocate", error);
      multiproc::os::fault::arm("posix_fallocate", error);
      multiproc::os::fault::arm("sysinfo", EPERM, 1, 100);
      multiproc::os::fault::arm("statvfs", EPERM, 1, 100);
      EXPECT_THROW((void)SharedMemory::anonymous(kSize), SystemError) << error;
      EXPECT_THROW((void)SharedMemory::create(a_name(), kSize), SystemError) << error;
      multiproc::os::fault::disarm();
      expect_no_such_name(a_name());
    }
  });
  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

}  // namespace
