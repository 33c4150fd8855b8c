// SPDX-License-Identifier: MIT

#include <multiproc/os/named_memory.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <limits>
#include <string>

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/memory.hpp>

#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using namespace std::chrono_literals;
using namespace multiproc::os;

constexpr std::size_t kPage = 4096;

// A name that no other test has, and that goes with it.
class Name {
 public:
  Name() {
    static int count = 0;
    text_ = "multiproc_os_test_" + std::to_string(::getpid()) + "_" + std::to_string(++count);
  }
  ~Name() { ::shm_unlink(text_.c_str()); }
  Name(const Name&) = delete;
  Name& operator=(const Name&) = delete;

  const char* get() const { return text_.c_str(); }
  std::string path() const { return "/dev/shm/" + text_; }
  bool exists() const { return ::access(path().c_str(), F_OK) == 0; }

 private:
  std::string text_;
};

struct stat status_of(const Fd& fd) {
  struct stat info {};
  EXPECT_EQ(::fstat(fd.get(), &info), 0);
  return info;
}

TEST(NamedMemoryTest, ABlockHasItsSizeReservedAndBelongsToItsUserAlone) {
  const Name name;

  const auto block = create_named(name.get(), 3 * kPage + 100).or_throw("memory");

  const auto info = status_of(block);
  EXPECT_EQ(info.st_size, static_cast<off_t>(3 * kPage + 100));
  EXPECT_GE(info.st_blocks * 512, info.st_size) << "sparse: a lack of memory would be a SIGBUS later";
  EXPECT_EQ(info.st_mode & 0777U, 0600U);
  EXPECT_TRUE(os_test::is_close_on_exec(block.get()));
  EXPECT_EQ(os_test::descriptors()[block.get()], name.path());
}

TEST(NamedMemoryTest, WhoOpensItSeesTheSameMemory) {
  const Name name;
  const auto made = create_named(name.get(), kPage).or_throw("memory");
  const auto here = map_shared(made.get(), kPage).or_throw("map");

  const auto opened = open_named(name.get()).or_throw("memory");
  const auto there = map_shared(opened.get(), kPage).or_throw("map");
  here.bytes()[7] = std::byte{42};

  EXPECT_TRUE(os_test::is_close_on_exec(opened.get()));
  EXPECT_NE(here.bytes().data(), there.bytes().data());
  EXPECT_EQ(there.bytes()[7], std::byte{42});
}

TEST(NamedMemoryTest, ANameIsTakenOnce) {
  const Name name;
  const auto block = create_named(name.get(), kPage).or_throw("memory");

  EXPECT_EQ(create_named(name.get(), kPage).error(), EEXIST);

  EXPECT_TRUE(name.exists()) << "the refused one took the name away";
}

TEST(NamedMemoryTest, ANameThatIsNotThereIsEnoent) {
  const Name name;

  EXPECT_EQ(open_named(name.get()).error(), ENOENT);
  EXPECT_EQ(unlink_named(name.get()).error(), ENOENT);
}

TEST(NamedMemoryTest, NamesHaveALimitAndNoSlash) {
  const std::string too_long(256, 'n');

  EXPECT_EQ(create_named(too_long.c_str(), kPage).error(), ENAMETOOLONG);
  EXPECT_EQ(open_named(too_long.c_str()).error(), ENAMETOOLONG);
  EXPECT_EQ(create_named("a/b", kPage).error(), EINVAL);
  EXPECT_EQ(create_named("", kPage).error(), EINVAL);
}

TEST(NamedMemoryTest, AnUnlinkedNameIsGoneAndTheMemoryStays) {
  const Name name;
  const auto block = create_named(name.get(), kPage).or_throw("memory");
  const auto mapping = map_shared(block.get(), kPage).or_throw("map");

  ASSERT_TRUE(unlink_named(name.get()));

  EXPECT_FALSE(name.exists());
  mapping.bytes()[0] = std::byte{1};
  EXPECT_EQ(mapping.bytes()[0], std::byte{1});
  EXPECT_EQ(unlink_named(name.get()).error(), ENOENT);
}

TEST(NamedMemoryTest, EachRefusedCallIsReportedAndLeavesNeitherDescriptorNorName) {
  const Name name;
  const auto make = [&] {
    auto made = create_named(name.get(), kPage);
    EXPECT_EQ(name.exists(), made.ok());
    if (made) ::shm_unlink(name.get());
    return made;
  };

  os_test::expect_each_refusal("shm_open", {EMFILE, ENFILE, ENOSPC, EACCES, ENOSYS}, make);
  os_test::expect_each_refusal("posix_fallocate", {ENOSPC, ENOMEM, EFBIG, EPERM, EOPNOTSUPP}, make);
  os_test::expect_each_repeated("shm_open", EINTR, make);
  os_test::expect_each_repeated("posix_fallocate", EINTR, make);
}

TEST(NamedMemoryTest, ARefusedOpenOrUnlinkIsReported) {
  const Name name;
  const auto block = create_named(name.get(), kPage).or_throw("memory");

  os_test::expect_each_refusal("shm_open", {EMFILE, EACCES, ENOMEM}, [&] { return open_named(name.get()); });
  os_test::expect_each_repeated("shm_open", EINTR, [&] { return open_named(name.get()); });
  {
    const os_test::Refusing refusing{"shm_unlink", EACCES};
    EXPECT_EQ(unlink_named(name.get()).error(), EACCES);
  }
  EXPECT_TRUE(name.exists());
}

TEST(NamedMemoryTest, AProcessThatHasNoStandardStreamsDoesNotGetItsMemoryThere) {
  const Name name;

  const auto result = support::in_child([&] {
    ::close(0);
    const auto made = create_named(name.get(), kPage).or_throw("memory");
    const auto opened = open_named(name.get()).or_throw("memory");
    EXPECT_GT(made.get(), 2);
    EXPECT_GT(opened.get(), 2);
    EXPECT_FALSE(os_test::is_open(0));
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(NamedMemoryTest, WithoutRoomForTheDescriptorNoNameIsLeft) {
  const Name name;

  const auto result = support::in_child([&] {
    ::close(0);  // the new descriptor stands there and has to be moved, for which there is no room
    os_test::leave_room_for(1);
    EXPECT_FALSE(create_named(name.get(), kPage));
    EXPECT_FALSE(name.exists());
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(NamedMemoryTest, SizesThatCantBeAreRefusedAndLeaveNoName) {
  const Name name;

  EXPECT_EQ(create_named(name.get(), 0).error(), EINVAL);
  EXPECT_EQ(create_named(name.get(), std::numeric_limits<std::size_t>::max()).error(), ENOMEM);
  EXPECT_EQ(create_named(name.get(), std::size_t{1} << 62).error(), ENOMEM);

  EXPECT_FALSE(name.exists());
}

TEST(NamedMemoryTest, MoreThanDevShmHasIsEnospcAtOnce) {
  const Name name;
  const auto room = room_for_named().or_throw("/dev/shm");
  const auto machine = room_in_machine().or_throw("memory");
  if (room.total == 0 || room.total >= machine.total) GTEST_SKIP() << "/dev/shm has no bound of its own here";

  EXPECT_EQ(create_named(name.get(), static_cast<std::size_t>(room.total) + kPage).error(), ENOSPC);

  EXPECT_FALSE(name.exists());
}

TEST(NamedMemoryTest, ASmallFileSizeLimitIsEfbigAndNoDeath) {
  const Name name;

  const auto result = support::in_child([&] {
    ::signal(SIGXFSZ, SIG_DFL);
    const rlimit limit{2 * kPage, 2 * kPage};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);

    EXPECT_EQ(create_named(name.get(), 3 * kPage).error(), EFBIG);
    EXPECT_FALSE(name.exists());
    EXPECT_TRUE(create_named(name.get(), 2 * kPage)) << "what fits is given";
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(NamedMemoryTest, ALargeBlockIsReservedThroughAStormOfSignals) {
  const Name name;
  if (const auto room = room_for_named(); !room || room.value().free < (std::uint64_t{128} << 20)) {
    GTEST_SKIP() << "/dev/shm is small here";
  }
  const os_test::SignalStorm storm{100us};

  const auto block = create_named(name.get(), std::size_t{64} << 20);

  ASSERT_TRUE(block) << block.error();
  EXPECT_EQ(status_of(block.value()).st_size, 64 << 20);
}

TEST(NamedMemoryTest, RoomIsReportedAndSoAreItsRefusals) {
  const auto machine = room_in_machine().or_throw("memory");
  EXPECT_GT(machine.total, 0U);
  EXPECT_LE(machine.free, machine.total);
  const auto named = room_for_named().or_throw("/dev/shm");
  EXPECT_LE(named.free, named.total);

  os_test::expect_each_refusal("statvfs", {ENOENT, EACCES}, [] { return room_for_named(); });
  os_test::expect_each_refusal("sysinfo", {EFAULT}, [] { return room_in_machine(); });
}

}  // namespace
