// SPDX-License-Identifier: MIT

#include <multiproc/os/constant_memory.hpp>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/memory.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace multiproc::os;

constexpr std::size_t kPage = 4096;

TEST(ConstantMemoryTest, HoldsWhatItWasBornWith) {
  std::vector<std::byte> bytes(3 * kPage + 5, std::byte{7});
  bytes.back() = std::byte{9};

  const auto memory = make_constant("label of a constant", bytes).or_throw("memory");

  const auto mapping = map_shared(memory.get(), bytes.size(), false).or_throw("map");
  EXPECT_EQ(std::vector<std::byte>(mapping.bytes().begin(), mapping.bytes().end()), bytes);
  EXPECT_TRUE(look_at_memory(memory.get()).value().keeps_its_size);
  EXPECT_TRUE(os_test::is_close_on_exec(memory.get()));
  EXPECT_EQ(os_test::descriptors()[memory.get()], "/memfd:label of a constant (deleted)");
}

TEST(ConstantMemoryTest, NobodyCanWriteToItByAnyWay) {
  const auto memory = make_constant("constant", os_test::bytes_of("for ever")).or_throw("memory");

  EXPECT_EQ(map_shared(memory.get(), 8, true).error(), EPERM);
  EXPECT_EQ(write_all(memory.get(), os_test::bytes_of("x")).error(), EPERM);
  EXPECT_NE(::ftruncate(memory.get(), 4), 0);
  EXPECT_NE(::fallocate(memory.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 8), 0);
  EXPECT_NE(::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_WRITE), 0) << "the seals are for good";
  const int again = ::open(("/proc/self/fd/" + std::to_string(memory.get())).c_str(), O_RDWR | O_CLOEXEC);
  const Fd reopened{again};
  if (reopened) {
    EXPECT_EQ(map_shared(again, 8, true).error(), EPERM);
  }
  const auto mapping = map_shared(memory.get(), 8, false).or_throw("map");
  EXPECT_NE(::mprotect(mapping.bytes().data(), kPage, PROT_READ | PROT_WRITE), 0);
}

TEST(ConstantMemoryTest, EachRefusedCallIsReportedAndLeavesNothing) {
  const auto make = [] { return make_constant("refused", os_test::bytes_of("bytes")); };

  os_test::expect_each_refusal("memfd_create", {EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM}, make);
  os_test::expect_each_refusal("write", {ENOSPC, ENOMEM}, make);
  os_test::expect_each_refusal("fcntl", {EPERM, EBUSY}, make);
  os_test::expect_each_repeated("write", EINTR, make);
}

TEST(ConstantMemoryTest, NoBytesAreInvalid) {
  EXPECT_EQ(make_constant("none", {}).error(), EINVAL);
}

TEST(ConstantMemoryTest, ASmallFileSizeLimitIsEfbigAndNoDeath) {
  const auto result = support::in_child([] {
    ::signal(SIGXFSZ, SIG_DFL);
    const rlimit limit{2 * kPage, 2 * kPage};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    const std::vector<std::byte> bytes(2 * kPage + 1);

    EXPECT_EQ(make_constant("limited", bytes).error(), EFBIG);
    EXPECT_TRUE(make_constant("limited", std::span(bytes).first(2 * kPage))) << "what fits is given";
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

}  // namespace
