// SPDX-License-Identifier: MIT

#include <multiproc/os/memory.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include <gtest/gtest.h>

#include <multiproc/os/pipe.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;

constexpr std::size_t kPage = 4096;

struct stat status_of(const Fd& fd) {
  struct stat info {};
  EXPECT_EQ(::fstat(fd.get(), &info), 0);
  return info;
}

bool is_mapped(const void* at) {
  unsigned char resident = 0;
  return ::mincore(const_cast<void*>(at), kPage, &resident) == 0;
}

TEST(MemoryTest, ABlockHasItsSizeReservedAndIsZero) {
  const auto block = make_memory("label of a block", 3 * kPage + 100).or_throw("memory");
  const auto mapping = map_shared(block.get(), 3 * kPage + 100).or_throw("map");

  const auto info = status_of(block);
  EXPECT_EQ(info.st_size, static_cast<off_t>(3 * kPage + 100));
  EXPECT_GE(info.st_blocks * 512, info.st_size) << "sparse: a lack of memory would be a SIGBUS later";
  EXPECT_EQ(mapping.bytes().size(), 3 * kPage + 100);
  for (const std::byte byte : mapping.bytes()) ASSERT_EQ(byte, std::byte{0});
}

TEST(MemoryTest, TheLabelIsWhatProcShows) {
  const auto block = make_memory("label of a block", kPage).or_throw("memory");

  EXPECT_EQ(os_test::descriptors()[block.get()], "/memfd:label of a block (deleted)");
}

TEST(MemoryTest, IsSealedAgainstShrinkingGrowingAndFurtherSeals) {
  const auto block = make_memory("sealed", 2 * kPage).or_throw("memory");

  EXPECT_NE(::ftruncate(block.get(), kPage), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::ftruncate(block.get(), 3 * kPage), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_NE(::fcntl(block.get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  EXPECT_EQ(errno, EPERM);
  EXPECT_EQ(::fcntl(block.get(), F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
}

TEST(MemoryTest, EachRefusedCallIsReportedAndLeavesNothing) {
  const auto make = [] { return make_memory("refused", kPage); };

  os_test::expect_each_refusal("memfd_create", {EMFILE, ENFILE, ENOMEM, ENOSYS, EPERM}, make);
  os_test::expect_each_refusal("fallocate", {ENOSPC, ENOMEM, EFBIG, EPERM}, make);
  os_test::expect_each_refusal("fcntl", {EPERM, EBUSY}, make);
  os_test::expect_each_repeated("fallocate", EINTR, make);
}

TEST(MemoryTest, NoSizeIsInvalid) {
  EXPECT_EQ(make_memory("none", 0).error(), EINVAL);
}

TEST(MemoryTest, MoreThanTheMachineHasIsEnomemAtOnceAndNotWorkForTheOomKiller) {
  // An unlimited fallocate would take all memory there is before it fails, if it lives that long. The file size limit
  // is the net below this test.
  const auto result = support::in_child([] {
    const rlimit limit{1 << 20, 1 << 20};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    const std::size_t owned = static_cast<std::size_t>(::sysconf(_SC_PHYS_PAGES)) * kPage;
    for (const std::size_t size : {std::numeric_limits<std::size_t>::max(), std::size_t{1} << 63, std::size_t{1} << 62,
                                   std::size_t{1} << 50, owned * 100}) {
      EXPECT_EQ(make_memory("absurd", size).error(), ENOMEM) << size;
    }
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(MemoryTest, ASmallFileSizeLimitIsEfbigAndNoDeath) {
  const auto result = support::in_child([] {
    ::signal(SIGXFSZ, SIG_DFL);
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 2 * kPage;
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);

    for (int i = 0; i < 3; ++i) EXPECT_EQ(make_memory("limited", 3 * kPage).error(), EFBIG);

    EXPECT_TRUE(make_memory("limited", 2 * kPage)) << "what fits is given";
    sigset_t now;
    ::sigpending(&now);
    EXPECT_EQ(::sigismember(&now, SIGXFSZ), 0);
    ::pthread_sigmask(SIG_SETMASK, nullptr, &now);
    EXPECT_EQ(::sigismember(&now, SIGXFSZ), 0) << "the mask is as it was";
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(MemoryTest, AFileSizeSignalThatIsNotOursStays) {
  const auto result = support::in_child([] {
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, SIGXFSZ);
    ::pthread_sigmask(SIG_BLOCK, &only, nullptr);
    ::raise(SIGXFSZ);
    const rlimit limit{kPage, kPage};
    ::setrlimit(RLIMIT_FSIZE, &limit);

    EXPECT_EQ(make_memory("limited", 3 * kPage).error(), EFBIG);

    sigset_t pending;
    ::sigpending(&pending);
    EXPECT_EQ(::sigismember(&pending, SIGXFSZ), 1);
    sigset_t mask;
    ::pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    EXPECT_EQ(::sigismember(&mask, SIGXFSZ), 1);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(MemoryTest, ALargeBlockIsReservedThroughAStormOfSignals) {
  // Longer than the pause between two signals: a reservation that begins anew after each would never end.
  const os_test::SignalStorm storm{100us};

  const auto block = make_memory("large", std::size_t{128} << 20);

  ASSERT_TRUE(block) << block.error();
  EXPECT_EQ(status_of(block.value()).st_size, 128 << 20);
}

TEST(MemoryTest, ABlockLargerThanDevShmIsGivenAllTheSame) {
  struct statfs shm {};
  if (::statfs("/dev/shm", &shm) != 0) GTEST_SKIP() << "no /dev/shm";
  const std::size_t room = shm.f_blocks * static_cast<std::size_t>(shm.f_bsize);
  if (room > (std::size_t{256} << 20)) GTEST_SKIP() << "/dev/shm is large here: " << room;

  EXPECT_TRUE(make_memory("larger", room + kPage));
}

TEST(MappingTest, WritesAreSeenThroughEveryMappingAndByOtherProcesses) {
  const auto block = make_memory("shared", kPage).or_throw("memory");
  const auto here = map_shared(block.get(), kPage).or_throw("map");
  const auto there = map_shared(block.get(), kPage, false).or_throw("map");
  ASSERT_NE(here.bytes().data(), there.bytes().data());

  here.bytes()[0] = std::byte{42};
  const auto child = support::in_child([&] {
    const auto mapped_there = map_shared(block.get(), kPage).or_throw("map");
    EXPECT_EQ(mapped_there.bytes()[0], std::byte{42});
    mapped_there.bytes()[1] = std::byte{43};  // by a mapping of its own
    here.bytes()[2] = std::byte{44};          // by the inherited one
  });

  EXPECT_EQ(child.status, 0) << child.out;
  EXPECT_EQ(there.bytes()[0], std::byte{42});
  EXPECT_EQ(there.bytes()[1], std::byte{43});
  EXPECT_EQ(there.bytes()[2], std::byte{44});
}

TEST(MappingTest, MoreThanTheBlockHoldsIsRefusedAndNotASigbus) {
  const auto block = make_memory("small", kPage).or_throw("memory");
  const auto pipe = make_pipe().or_throw("pipe");

  EXPECT_EQ(map_shared(block.get(), kPage + 1).error(), EINVAL);
  EXPECT_EQ(map_shared(block.get(), std::numeric_limits<std::size_t>::max()).error(), EINVAL);
  EXPECT_EQ(map_shared(block.get(), 0).error(), EINVAL);
  EXPECT_EQ(map_shared(pipe.read.get(), kPage).error(), EINVAL);
  EXPECT_EQ(map_shared(-1, kPage).error(), EBADF);
}

TEST(MappingTest, LessThanTheBlockHoldsIsMapped) {
  const auto block = make_memory("small", 4 * kPage).or_throw("memory");

  EXPECT_EQ(map_shared(block.get(), kPage + 1).value().bytes().size(), kPage + 1);
}

TEST(MappingTest, AReadOnlyMappingCantBeWritten) {
  const auto block = make_memory("read only", kPage).or_throw("memory");

  const auto result = support::in_child([&] {
    ::signal(SIGSEGV, SIG_DFL);  // a sanitizer would turn it into a report
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    const auto mapping = map_shared(block.get(), kPage, false).or_throw("map");
    mapping.bytes()[0] = std::byte{1};
  });

  EXPECT_EQ(result.status, -SIGSEGV);
}

TEST(MappingTest, OutlivesTheDescriptorAndItsMaker) {
  auto block = make_memory("outlives", kPage).or_throw("memory");
  const auto mapping = map_shared(block.get(), kPage).or_throw("map");

  block.reset();

  mapping.bytes()[kPage - 1] = std::byte{1};
  EXPECT_EQ(mapping.bytes()[kPage - 1], std::byte{1});
}

TEST(MappingTest, IsUnmappedWhenItsOwnerGoes) {
  Mapping first = map_inheritable(kPage).or_throw("map");
  const void* const at = first.bytes().data();

  Mapping second{std::move(first)};
  EXPECT_FALSE(first);  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_TRUE(is_mapped(at));
  Mapping third = map_inheritable(kPage).or_throw("map");
  const void* const overwritten = third.bytes().data();
  third = std::move(second);
  Mapping& itself = third;
  third = std::move(itself);
  EXPECT_TRUE(is_mapped(at));
  EXPECT_FALSE(is_mapped(overwritten));
  third = Mapping{};

  EXPECT_FALSE(is_mapped(at));
  EXPECT_FALSE(third);
}

TEST(MappingTest, ARefusedMapIsReported) {
  const auto block = make_memory("refused", kPage).or_throw("memory");

  os_test::expect_each_refusal("mmap", {ENOMEM, ENODEV, EPERM}, [&] { return map_shared(block.get(), kPage); });
  os_test::expect_each_refusal("mmap", {ENOMEM}, [] { return map_inheritable(kPage); });
  os_test::expect_each_refusal("mmap", {ENOMEM}, [] { return map_left_out_of_forks(kPage); });
  os_test::expect_each_refusal("madvise", {EINVAL}, [] { return map_left_out_of_forks(kPage); });
}

TEST(MappingTest, AnAddressSpaceThatIsFullIsEnomem) {
  EXPECT_EQ(map_inheritable(std::size_t{1} << 60).error(), ENOMEM);
  EXPECT_EQ(map_inheritable(0).error(), EINVAL);
}

TEST(MappingTest, InheritableMemoryIsSharedWithForkedChildren) {
  const auto memory = map_inheritable(kPage).or_throw("map");

  const auto child = support::in_child([&] { memory.bytes()[5] = std::byte{9}; });

  EXPECT_EQ(child.status, 0);
  EXPECT_EQ(memory.bytes()[5], std::byte{9});
}

TEST(MappingTest, MemoryLeftOutOfForksIsZeroedInTheChildAndTheParentsInTheParent) {
  Mapping memory = map_left_out_of_forks(kPage).or_throw("map");
  memory.bytes()[5] = std::byte{9};

  const auto child = support::in_child([&] {
    EXPECT_EQ(memory.bytes()[5], std::byte{0});
    memory.bytes()[5] = std::byte{7};
  });

  EXPECT_EQ(child.status, 0) << child.out;
  EXPECT_EQ(memory.bytes()[5], std::byte{9});
}

TEST(MappingTest, ReleasedItStaysMapped) {
  Mapping memory = map_left_out_of_forks(kPage).or_throw("map");

  const auto bytes = memory.release();

  EXPECT_FALSE(memory);
  memory = Mapping{};
  EXPECT_TRUE(is_mapped(bytes.data()));
  memory = Mapping{bytes};
}

}  // namespace
