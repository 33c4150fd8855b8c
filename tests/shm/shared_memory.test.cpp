// SPDX-License-Identifier: MIT

#include <multiproc/shm/shared_memory.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/ipc/encode.hpp>

#include "os/fault.hpp"
#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace {

using multiproc::DecodeError;
using multiproc::InvalidState;
using multiproc::SharedMemory;
using multiproc::SystemError;
using multiproc::Unsupported;

static_assert(multiproc::Sendable<SharedMemory> && !multiproc::Shareable<SharedMemory>);
static_assert(std::is_nothrow_move_constructible_v<SharedMemory> && !std::is_copy_constructible_v<SharedMemory>);

constexpr std::size_t kPage = 4096;

// A name that no other test has, and that goes with it.
class Name {
 public:
  Name() {
    static int count = 0;
    text_ = "multiproc_shm_test_" + std::to_string(::getpid()) + "_" + std::to_string(++count);
  }
  ~Name() { ::shm_unlink(text_.c_str()); }
  Name(const Name&) = delete;
  Name& operator=(const Name&) = delete;

  operator std::string_view() const { return text_; }
  const std::string& text() const { return text_; }
  bool exists() const { return ::access(("/dev/shm/" + text_).c_str(), F_OK) == 0; }

 private:
  std::string text_;
};

// The error's number and text; 0 when `act` throws no SystemError.
struct Refusal {
  int error = 0;
  std::string text{};
};
template <class Act>
Refusal refusal_of(Act act) {
  try {
    act();
  } catch (const SystemError& refused) {
    return {refused.code().value(), refused.what()};
  }
  return {};
}

bool says(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

void write_text(SharedMemory& memory, std::string_view text) {
  std::memcpy(memory.bytes().data(), text.data(), text.size());
}

std::string text_of(const SharedMemory& memory, std::size_t size) {
  return {reinterpret_cast<const char*>(memory.bytes().data()), size};
}

TEST(SparseMemoryTest, IsAsLargeAsYouLikeAndCostsWhatIsTouched) {
  constexpr std::size_t kSize = std::size_t{8} << 30;
  auto memory = SharedMemory::sparse(kSize);
  ASSERT_EQ(memory.size(), kSize);
  EXPECT_EQ(memory.bytes()[kSize / 2], std::byte{0});
  memory.reserve(kSize - kPage, kPage);
  memory.bytes()[kSize - 1] = std::byte{42};

  const auto child = support::in_child([&] {
    EXPECT_EQ(memory.bytes()[kSize - 1], std::byte{42});
    memory.bytes()[0] = std::byte{7};
  });

  EXPECT_EQ(child.status, 0) << child.err;
  EXPECT_EQ(memory.bytes()[0], std::byte{7});
}

TEST(SharedMemoryTest, ADuplicateIsTheSameBytesAndLivesByItself) {
  auto memory = SharedMemory::anonymous(kPage);
  auto other = memory.duplicate();
  memory.bytes()[0] = std::byte{5};
  memory.close();

  EXPECT_EQ(other.bytes()[0], std::byte{5});
  EXPECT_EQ(other.size(), kPage);
  EXPECT_THROW((void)memory.duplicate(), InvalidState);
}

TEST(SparseMemoryTest, ReservesWhatLiesInIt) {
  auto memory = SharedMemory::sparse(4 * kPage);
  memory.reserve(0, 4 * kPage);
  memory.reserve(0, 4 * kPage);
  memory.reserve(4 * kPage, 0);

  EXPECT_THROW(memory.reserve(kPage, 4 * kPage), multiproc::Error);
  EXPECT_THROW(memory.reserve(5 * kPage, 0), multiproc::Error);
  EXPECT_THROW(memory.reserve(kPage, std::numeric_limits<std::size_t>::max()), multiproc::Error);
}

TEST(SparseMemoryTest, SaysThatThereIsNoRoomToReserve) {
  const auto child = support::in_child([] {
    auto memory = SharedMemory::sparse(std::size_t{8} << 30);
    multiproc::os::fault::arm("fallocate", ENOSPC);
    try {
      memory.reserve(0, kPage);
      ADD_FAILURE() << "reserved";
    } catch (const SystemError& refused) {
      EXPECT_EQ(refused.code().value(), ENOSPC);
      EXPECT_NE(std::string(refused.what()).find("4096"), std::string::npos) << refused.what();
    }
  });
  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

TEST(SharedMemoryTest, AnonymousMemoryIsZeroAndBeginsAtAPage) {
  SharedMemory memory = SharedMemory::anonymous(3 * kPage + 100);

  EXPECT_EQ(memory.size(), 3 * kPage + 100);
  EXPECT_EQ(memory.bytes().size(), memory.size());
  EXPECT_EQ(memory.name(), "");
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.bytes().data()) % kPage, 0U);
  EXPECT_TRUE(std::ranges::all_of(memory.bytes(), [](std::byte byte) { return byte == std::byte{0}; }));
}

TEST(SharedMemoryTest, AForkedChildSeesAndWritesIt) {
  SharedMemory anonymous = SharedMemory::anonymous(kPage);
  const Name name;
  SharedMemory named = SharedMemory::create(name, kPage);

  const auto child = support::in_child([&] {
    anonymous.bytes()[1] = std::byte{42};
    named.bytes()[2] = std::byte{43};
  });

  EXPECT_EQ(child.status, 0) << child.out;
  EXPECT_EQ(anonymous.bytes()[1], std::byte{42});
  EXPECT_EQ(named.bytes()[2], std::byte{43});
  EXPECT_TRUE(name.exists()) << "the child's end took the name away";
}

TEST(SharedMemoryTest, AnonymousMemoryLeavesNothing) {
  const auto before = os_test::descriptors();

  {
    SharedMemory memory = SharedMemory::anonymous(kPage);
    EXPECT_NE(os_test::descriptors(), before);
  }

  EXPECT_EQ(os_test::descriptors(), before);
}

TEST(SharedMemoryTest, ALargeBlockIsWritableToItsEnd) {
  SharedMemory memory = SharedMemory::anonymous(std::size_t{64} << 20);

  memory.bytes().back() = std::byte{1};

  EXPECT_EQ(memory.bytes().back(), std::byte{1});
}

TEST(SharedMemoryTest, WhoOpensANameSeesWhatItsCreatorWrote) {
  const Name name;
  SharedMemory created = SharedMemory::create(name, 100);
  write_text(created, "hello");

  SharedMemory opened = SharedMemory::open(name);

  EXPECT_EQ(opened.size(), 100U) << "not rounded: Python's is not, on Linux";
  EXPECT_EQ(opened.name(), name.text());
  EXPECT_EQ(text_of(opened, 5), "hello");
  EXPECT_NE(opened.bytes().data(), created.bytes().data());
  write_text(opened, "HELLO");
  EXPECT_EQ(text_of(created, 5), "HELLO");
}

TEST(SharedMemoryTest, ALeadingSlashOfANameCountsForNothing) {
  const Name name;

  const SharedMemory created = SharedMemory::create("/" + name.text(), 100);
  const SharedMemory opened = SharedMemory::open("//" + name.text());

  EXPECT_EQ(created.name(), name.text());
  EXPECT_EQ(opened.name(), name.text());
}

TEST(SharedMemoryTest, ANameStaysUntilItIsUnlinked) {
  const Name name;
  { SharedMemory::create(name, 100); }
  ASSERT_TRUE(name.exists());

  SharedMemory opened = SharedMemory::open(name);
  opened.unlink();

  EXPECT_FALSE(name.exists());
  EXPECT_EQ(opened.bytes().size(), 100U) << "those who have it keep it";
}

TEST(SharedMemoryTest, TheEndOfAProcessThatAttachedTakesNothingAway) {
  const Name name;
  SharedMemory memory = SharedMemory::create(name, 100);

  const auto child = support::in_child([&] {
    SharedMemory attached = SharedMemory::open(name);
    attached.bytes()[0] = std::byte{42};
  });

  EXPECT_EQ(child.status, 0) << child.out << child.err;
  EXPECT_TRUE(name.exists());
  EXPECT_EQ(memory.bytes()[0], std::byte{42});
}

TEST(SharedMemoryTest, ANameThatIsTakenIsAnErrorThatSaysSo) {
  const Name name;
  const SharedMemory first = SharedMemory::create(name, 100);

  const Refusal refusal = refusal_of([&] { SharedMemory::create(name, 200); });

  EXPECT_EQ(refusal.error, EEXIST);
  EXPECT_TRUE(says(refusal.text, name.text()) && says(refusal.text, "taken")) << refusal.text;
  EXPECT_EQ(SharedMemory::open(name).size(), 100U) << "the first one is as it was";
}

TEST(SharedMemoryTest, ANameThatIsNotThereIsAnErrorThatSaysSo) {
  const Name name;

  const Refusal open = refusal_of([&] { SharedMemory::open(name); });
  const Refusal unlink = refusal_of([&] { SharedMemory::unlink(name); });

  EXPECT_EQ(open.error, ENOENT);
  EXPECT_TRUE(says(open.text, name.text())) << open.text;
  EXPECT_EQ(unlink.error, ENOENT);
}

TEST(SharedMemoryTest, ANameThatCantBeOneIsRefused) {
  for (const std::string_view name :
       {std::string_view(""), std::string_view("/"), std::string_view("a/b"), std::string_view("/a/"),
        std::string_view("."), std::string_view(".."), std::string_view("a\0b", 3)}) {
    EXPECT_THROW(SharedMemory::create(name, 100), Unsupported) << name;
    EXPECT_THROW(SharedMemory::open(name), Unsupported) << name;
    EXPECT_THROW(SharedMemory::unlink(name), Unsupported) << name;
  }
}

TEST(SharedMemoryTest, TheLongestNameWorksAndALongerOneSaysHowLongItMayBe) {
  const Name name;
  std::string longest = name.text();
  longest.resize(255, 'n');

  SharedMemory::create(longest, 100).unlink();
  const Refusal refusal = refusal_of([&] { SharedMemory::create(longest + "n", 100); });

  EXPECT_EQ(refusal.error, ENAMETOOLONG);
  EXPECT_TRUE(says(refusal.text, "255")) << refusal.text;
}

TEST(SharedMemoryTest, ASizeThatCantBeOneIsRefused) {
  const Name name;

  for (const std::size_t size : {std::size_t{0}, static_cast<std::size_t>(-1), std::size_t{1} << 63}) {
    EXPECT_THROW(SharedMemory::create(name, size), Unsupported) << size;
    EXPECT_THROW(SharedMemory::anonymous(size), Unsupported) << size;
  }

  EXPECT_FALSE(name.exists());
}

TEST(SharedMemoryTest, MoreThanThereIsIsAnErrorWithSizeRoomAndRemedy) {
  const Name name;
  constexpr std::size_t kSize = std::size_t{1} << 50;

  for (const Refusal& refusal :
       {refusal_of([&] { SharedMemory::create(name, kSize); }), refusal_of([] { SharedMemory::anonymous(kSize); })}) {
    EXPECT_EQ(refusal.error, ENOMEM);
    EXPECT_TRUE(says(refusal.text, std::to_string(kSize))) << refusal.text;
    EXPECT_TRUE(says(refusal.text, "bytes free")) << refusal.text;
    EXPECT_TRUE(says(refusal.text, "ask for less")) << refusal.text;
  }

  EXPECT_FALSE(name.exists());
}

TEST(SharedMemoryTest, ASmallDevShmIsAnErrorForNamesAndNothingToAnonymousMemory) {
  const auto result = support::in_child([] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k") != 0) {
      return 77;
    }
    const Refusal refusal = refusal_of([] { SharedMemory::create("large", std::size_t{8} << 20); });
    EXPECT_EQ(refusal.error, ENOSPC);
    EXPECT_TRUE(says(refusal.text, "8388608") && says(refusal.text, "65536 of 65536") &&
                says(refusal.text, "anonymous"))
        << refusal.text;
    EXPECT_EQ(refusal_of([] { SharedMemory::open("large"); }).error, ENOENT) << "a refused block left its name";

    SharedMemory small = SharedMemory::create("small", 64 << 10);
    std::ranges::fill(small.bytes(), std::byte{1});
    SharedMemory anonymous = SharedMemory::anonymous(std::size_t{8} << 20);
    std::ranges::fill(anonymous.bytes(), std::byte{1});
    return testing::Test::HasFailure() ? 1 : 0;
  });

  if (result.status == 77) GTEST_SKIP() << "no right to mount";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(SharedMemoryTest, OpeningReservesWhatItsMakerOnlyGaveASize) {
  const auto result = support::in_child([] {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k") != 0) {
      return 77;
    }
    for (const auto& [name, size] : {std::pair{"/large", off_t{8} << 20}, std::pair{"/small", off_t{60} << 10}}) {
      const multiproc::os::Fd made{::shm_open(name, O_CREAT | O_RDWR, 0600)};
      if (!made || ::ftruncate(made.get(), size) != 0) return 1;
    }
    const Refusal refusal = refusal_of([] { SharedMemory::open("large"); });
    EXPECT_EQ(refusal.error, ENOSPC);
    EXPECT_TRUE(says(refusal.text, "8388608") && says(refusal.text, "bytes free") && says(refusal.text, "unlink"))
        << refusal.text;

    SharedMemory small = SharedMemory::open("small");
    const Refusal full = refusal_of([] { SharedMemory::create("more", 64 << 10); });
    EXPECT_EQ(full.error, ENOSPC) << "open() took no room";
    std::ranges::fill(small.bytes(), std::byte{1});
    SharedMemory again = SharedMemory::open("small");
    EXPECT_EQ(again.bytes().back(), std::byte{1});
    return testing::Test::HasFailure() ? 1 : 0;
  });

  if (result.status == 77) GTEST_SKIP() << "no right to mount";
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(SharedMemoryTest, WhatCantBeReservedIsOpenedAsItIs) {
  const Name name;
  SharedMemory created = SharedMemory::create(name, kPage);
  for (const int error : {EOPNOTSUPP, EPERM, EBADF, EINVAL, ENODEV}) {
    const os_test::Refusing refusing{"fallocate", error};
    EXPECT_EQ(SharedMemory::open(name).size(), kPage) << error;
  }
  for (const int error : {ENOSPC, ENOMEM}) {
    const os_test::Refusing refusing{"fallocate", error};
    EXPECT_EQ(refusal_of([&] { SharedMemory::open(name); }).error, error);
  }
  created.unlink();
}

TEST(SharedMemoryTest, EachRefusalOfTheKernelIsASystemErrorThatLeavesNothing) {
  const Name name;
  const auto create = [&] { SharedMemory::create(name, kPage).unlink(); };
  const auto anonymous = [] { SharedMemory::anonymous(kPage); };
  const auto refused = [](const char* call, int error, const auto& act) {
    const auto before = os_test::descriptors();
    const os_test::Refusing refusing{call, error};
    EXPECT_EQ(refusal_of(act).error, error) << call;
    EXPECT_EQ(os_test::descriptors(), before) << call;
  };

  for (const int error : {EMFILE, ENFILE, ENOSPC, EACCES, ENOSYS}) refused("shm_open", error, create);
  for (const int error : {ENOSPC, ENOMEM, EPERM}) refused("posix_fallocate", error, create);
  for (const int error : {ENOMEM, EPERM}) refused("mmap", error, create);
  EXPECT_FALSE(name.exists());
  for (const int error : {EMFILE, ENFILE, ENOMEM}) refused("memfd_create", error, anonymous);
  for (const int error : {ENOSPC, ENOMEM}) refused("fallocate", error, anonymous);
  for (const int error : {ENOMEM, EMFILE}) refused("mmap", error, anonymous);
}

TEST(SharedMemoryTest, WithoutMemfdAnonymousMemoryServesForkedChildrenAndCantBeSent) {
  const os_test::Refusing refusing{"memfd_create", EPERM};

  SharedMemory memory = SharedMemory::anonymous(kPage);
  const auto child = support::in_child([&] { memory.bytes()[0] = std::byte{42}; });

  EXPECT_EQ(child.status, 0);
  EXPECT_EQ(memory.bytes()[0], std::byte{42});
  EXPECT_THROW(multiproc::encode(memory), Unsupported);
}

TEST(SharedMemoryTest, TheNameOfACreatorThatWasKilledSaysSoAndCanBeCleared) {
  const Name name;
  const auto killed = support::in_child([&] {
    ::shm_open(name.text().c_str(), O_CREAT | O_EXCL | O_RDWR, 0600);  // what is there before the size is
    ::raise(SIGKILL);
  });
  ASSERT_EQ(killed.status, -SIGKILL);

  try {
    SharedMemory::open(name);
    ADD_FAILURE() << "a block of 0 bytes was opened";
  } catch (const InvalidState& refused) {
    EXPECT_TRUE(says(refused.what(), name.text()) && says(refused.what(), "unlink")) << refused.what();
  }

  EXPECT_EQ(refusal_of([&] { SharedMemory::create(name, 100); }).error, EEXIST);
  SharedMemory::unlink(name);
  EXPECT_EQ(SharedMemory::create(name, 100).size(), 100U);
}

TEST(SharedMemoryTest, UnlinkingTwiceIsAnErrorAndTakesNobodyElsesNameAway) {
  const Name name;
  SharedMemory first = SharedMemory::create(name, 100);
  first.unlink();
  EXPECT_EQ(refusal_of([&] { first.unlink(); }).error, ENOENT);

  const SharedMemory second = SharedMemory::create(name, 100);
  EXPECT_EQ(refusal_of([&] { first.unlink(); }).error, ENOENT);

  EXPECT_TRUE(name.exists()) << "the second one's name was taken away";
}

TEST(SharedMemoryTest, UnlinkingWhatAnotherHandleHasUnlinkedIsAnError) {
  const Name name;
  SharedMemory first = SharedMemory::create(name, 100);
  SharedMemory second = SharedMemory::open(name);
  second.unlink();

  const Refusal refusal = refusal_of([&] { first.unlink(); });

  EXPECT_EQ(refusal.error, ENOENT);
  EXPECT_TRUE(says(refusal.text, name.text())) << refusal.text;
}

TEST(SharedMemoryTest, AHandleThatIsTooLateLeavesTheNextBlockItsName) {
  const Name name;
  SharedMemory first = SharedMemory::create(name, 100);
  SharedMemory second = first.duplicate();
  first.unlink();
  SharedMemory next = SharedMemory::create(name, 200);

  const Refusal refusal = refusal_of([&] { second.unlink(); });

  EXPECT_EQ(refusal.error, ENOENT);
  EXPECT_TRUE(says(refusal.text, name.text()) && says(refusal.text, "another block")) << refusal.text;
  EXPECT_EQ(SharedMemory::open(name).size(), 200U);
  next.unlink();
  EXPECT_FALSE(name.exists());
}

TEST(SharedMemoryTest, WhatIsNoBlockOrNotForUsSaysWhatToDo) {
  const Name name;
  const std::string path = "/dev/shm/" + name.text();
  ASSERT_EQ(::mkdir(path.c_str(), 0700), 0);
  const Refusal directory = refusal_of([&] { SharedMemory::open(name); });
  EXPECT_TRUE(says(directory.text, "something else in /dev/shm")) << directory.error << directory.text;
  EXPECT_TRUE(says(refusal_of([&] { SharedMemory::unlink(name); }).text, "something else in /dev/shm"));
  ASSERT_EQ(::rmdir(path.c_str()), 0);

  ASSERT_EQ(::symlink("/dev/null", path.c_str()), 0);
  const Refusal link = refusal_of([&] { SharedMemory::open(name); });
  EXPECT_TRUE(says(link.text, "something else in /dev/shm")) << link.error << link.text;
  ASSERT_EQ(::unlink(path.c_str()), 0);

  const os_test::Refusing refusing{"shm_open", EACCES};
  EXPECT_TRUE(says(refusal_of([&] { SharedMemory::open(name); }).text, "chmod 600"));
}

TEST(SharedMemoryTest, AnonymousMemoryHasNothingToUnlink) {
  SharedMemory memory = SharedMemory::anonymous(100);

  EXPECT_THROW(memory.unlink(), InvalidState);
}

TEST(SharedMemoryTest, ClosedItHasNoBytesAndOnlyItsNameWorks) {
  const Name name;
  SharedMemory memory = SharedMemory::create(name, 100);

  memory.close();
  memory.close();

  EXPECT_TRUE(memory.closed());
  EXPECT_TRUE(memory.bytes().empty());
  EXPECT_THROW(memory.size(), InvalidState);
  EXPECT_THROW(multiproc::encode(memory), InvalidState);
  EXPECT_EQ(memory.name(), name.text());
  EXPECT_TRUE(name.exists());
  memory.unlink();  // Python's order: close, then unlink
  EXPECT_FALSE(name.exists());
}

TEST(SharedMemoryTest, MovedFromItIsClosedAndHasNoName) {
  const Name name;
  SharedMemory from = SharedMemory::create(name, 100);

  SharedMemory to = std::move(from);

  EXPECT_EQ(to.size(), 100U);
  EXPECT_TRUE(from.closed());  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_TRUE(from.bytes().empty());
  EXPECT_THROW(from.size(), InvalidState);
  EXPECT_THROW(from.unlink(), InvalidState);
}

TEST(SharedMemoryTest, SentAnonymousMemoryIsTheSameMemory) {
  SharedMemory memory = SharedMemory::anonymous(100);
  auto message = multiproc::encode(memory);

  const auto child = support::in_child([&] {
    memory.close();  // the child's own copy: it shall stand on what was sent
    SharedMemory arrived = multiproc::decode<SharedMemory>(message.bytes, std::move(message.fds));
    EXPECT_EQ(arrived.size(), 100U);
    EXPECT_EQ(arrived.name(), "");
    arrived.bytes()[99] = std::byte{42};
  });

  EXPECT_EQ(child.status, 0) << child.out << child.err;
  EXPECT_EQ(memory.bytes()[99], std::byte{42});
}

TEST(SharedMemoryTest, SentNamedMemoryKeepsItsNameAndArrivesEvenWhenThatIsGone) {
  const Name name;
  SharedMemory memory = SharedMemory::create(name, 100);
  auto message = multiproc::encode(memory);
  memory.unlink();
  auto later = multiproc::encode(memory);

  SharedMemory arrived = multiproc::decode<SharedMemory>(std::move(message));
  SharedMemory arrived_later = multiproc::decode<SharedMemory>(std::move(later));

  EXPECT_EQ(arrived.name(), name.text());
  arrived.bytes()[5] = std::byte{42};
  EXPECT_EQ(memory.bytes()[5], std::byte{42});
  EXPECT_EQ(arrived_later.bytes()[5], std::byte{42});
  const SharedMemory another = SharedMemory::create(name, 100);
  EXPECT_EQ(refusal_of([&] { arrived_later.unlink(); }).error, ENOENT) << "it travelled with its name unlinked";
  EXPECT_TRUE(name.exists());
}

TEST(SharedMemoryTest, WhatArrivesOtherThanItWasSentIsADecodeError) {
  const Name name;
  SharedMemory named = SharedMemory::create(name, 100);
  auto message = multiproc::encode(named);
  ASSERT_EQ(::truncate(("/dev/shm/" + name.text()).c_str(), 50), 0);
  EXPECT_THROW(multiproc::decode<SharedMemory>(std::move(message)), DecodeError) << "another size";

  SharedMemory anonymous = SharedMemory::anonymous(100);
  auto nameless = multiproc::encode(anonymous);
  nameless.fds.clear();
  EXPECT_THROW(multiproc::decode<SharedMemory>(std::move(nameless)), DecodeError) << "no descriptor";

  const Name unsealed_name;
  SharedMemory unsealed = SharedMemory::create(unsealed_name, 100);
  auto swapped = multiproc::encode(anonymous);
  swapped.fds = std::move(multiproc::encode(unsealed).fds);
  EXPECT_THROW(multiproc::decode<SharedMemory>(std::move(swapped)), DecodeError) << "not sealed";
}

bool may_trace() {
  return support::in_child([] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1; }).status == 0;
}

// Runs `act` in a child and kills it at the entry to or the exit from its system call number `stop`. False: it was done
// before that.
template <class Act>
bool killed_at_system_call(int stop, Act act) {
  os_test::PlainChild child{[&] {
    ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
    ::raise(SIGSTOP);
    act();
  }};
  int status = 0;
  for (int seen = -1;; ++seen) {  // the SIGSTOP first
    EXPECT_EQ(::waitpid(child.pid(), &status, __WALL), child.pid());
    if (!WIFSTOPPED(status)) {
      child.release();
      EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
      return false;
    }
    if (seen == stop) return true;  // ~PlainChild kills it
    ::ptrace(PTRACE_SYSCALL, child.pid(), nullptr, nullptr);
  }
}

TEST(SharedMemoryDeathTest, ACreatorKilledAtAnySystemCallLeavesNothingOrAnEmptyNameOrAWholeBlock) {
  if (!may_trace()) GTEST_SKIP() << "no right to trace a child";
  constexpr std::size_t kSize = 3 * kPage;
  int absent = 0;
  int empty = 0;
  int whole = 0;

  for (int stop = 0;; ++stop) {
    const Name name;
    const bool killed = killed_at_system_call(stop, [&] { SharedMemory::create(name, kSize); });
    try {
      EXPECT_EQ(SharedMemory::open(name).size(), kSize) << stop;
      ++whole;
      SharedMemory::unlink(name);
    } catch (const InvalidState&) {
      ++empty;
      SharedMemory::unlink(name);
    } catch (const SystemError& refused) {
      EXPECT_EQ(refused.code().value(), ENOENT) << stop << ": " << refused.what();
      ++absent;
    }
    EXPECT_FALSE(name.exists()) << stop;
    EXPECT_EQ(SharedMemory::create(name, kSize).size(), kSize) << stop << ": the name is not free again";
    if (!killed || HasFailure()) break;
  }

  EXPECT_GT(absent, 0);
  EXPECT_GT(empty, 0);
  EXPECT_GT(whole, 1);
}

TEST(SharedMemoryDeathTest, AnAttacherKilledAtAnySystemCallTakesNothingAway) {
  if (!may_trace()) GTEST_SKIP() << "no right to trace a child";
  const Name name;
  SharedMemory memory = SharedMemory::create(name, kPage);

  int stop = 0;
  while (killed_at_system_call(stop, [&] { SharedMemory::open(name).bytes()[0] = std::byte{42}; })) {
    ASSERT_EQ(SharedMemory::open(name).size(), kPage) << stop;
    ++stop;
  }

  EXPECT_GT(stop, 4) << "not even open and mmap were seen";
  EXPECT_EQ(memory.bytes()[0], std::byte{42});
}

// With CPython itself. What attaches there tells its resource tracker to leave the block alone, as the docs say.
class PythonSharedMemoryTest : public testing::Test {
 protected:
  // Runs `script` with `name` as n; its imports and keep() are there. Its stdout.
  static std::string python(const Name& name, const std::string& script) {
    static const std::string prologue =
        "import sys\n"
        "from multiprocessing import resource_tracker\n"
        "from multiprocessing.shared_memory import SharedMemory, ShareableList\n"
        "n = sys.argv[1]\n"
        "def keep(shm):\n"
        "    resource_tracker.unregister(shm._name, 'shared_memory')\n"
        "    return shm\n";
    const auto result = support::run_program("/usr/bin/env", {"python3", "-c", prologue + script, name.text()});
    EXPECT_EQ(result.status, 0) << result.out << result.err;
    return result.out;
  }

  void SetUp() override {
    if (support::run_program("/usr/bin/env", {"python3", "-c", "from multiprocessing import shared_memory"}).status) {
      GTEST_SKIP() << "no python3 with shared_memory";
    }
  }

  static bool has_todays_list() {
    const std::string ask = "from multiprocessing import shared_memory as m; exit(m.ShareableList._alignment != 8 or ";
    const std::string old = "'_allocated_offsets' not in m.ShareableList.__init__.__code__.co_names)";
    return support::run_program("/usr/bin/env", {"python3", "-c", ask + old}).status == 0;
  }
};

std::int64_t word_at(const SharedMemory& memory, std::size_t index) {
  std::int64_t word = 0;
  std::memcpy(&word, memory.bytes().data() + index * sizeof word, sizeof word);
  return word;
}
void set_word_at(SharedMemory& memory, std::size_t index, std::int64_t word) {
  std::memcpy(memory.bytes().data() + index * sizeof word, &word, sizeof word);
}

TEST_F(PythonSharedMemoryTest, AttachesToWhatWeCreated) {
  const Name name;
  SharedMemory memory = SharedMemory::create(name, 100);
  write_text(memory, "from C++");

  const std::string out = python(name,
                                 "shm = keep(SharedMemory(n))\n"
                                 "print(shm.name == n, shm.size, bytes(shm.buf[:8]).decode())\n"
                                 "shm.buf[:11] = b'from Python'\n"
                                 "shm.close()\n");

  EXPECT_EQ(out, "True 100 from C++\n");
  EXPECT_EQ(text_of(memory, 11), "from Python");
  EXPECT_TRUE(name.exists()) << "its end took the name away";
}

TEST_F(PythonSharedMemoryTest, CreatesWhatWeAttachTo) {
  const Name name;
  python(name,
         "shm = keep(SharedMemory(n, create=True, size=5000))\n"
         "shm.buf[4999] = 42\n"
         "shm.close()\n");

  SharedMemory memory = SharedMemory::open(name);
  EXPECT_EQ(memory.size(), 5000U);
  EXPECT_EQ(memory.bytes()[4999], std::byte{42});
  memory.bytes()[0] = std::byte{43};

  EXPECT_EQ(python(name, "shm = keep(SharedMemory(n)); print(shm.buf[0])"), "43\n");
}

TEST_F(PythonSharedMemoryTest, UnlinksWhatWeCreated) {
  const Name name;
  SharedMemory memory = SharedMemory::create(name, 100);

  python(name, "shm = SharedMemory(n)\nshm.close()\nshm.unlink()\n");

  EXPECT_FALSE(name.exists());
  EXPECT_EQ(refusal_of([&] { SharedMemory::open(name); }).error, ENOENT);
  EXPECT_EQ(refusal_of([&] { memory.unlink(); }).error, ENOENT);
  memory.bytes()[99] = std::byte{1};
}

TEST_F(PythonSharedMemoryTest, DoesNotFindWhatWeUnlinkedNorMakesWhatWeMade) {
  const Name name;
  python(name, "keep(SharedMemory(n, create=True, size=100))\n");
  SharedMemory::open(name).unlink();

  EXPECT_EQ(python(name, "try:\n    SharedMemory(n)\nexcept FileNotFoundError:\n    print('gone')\n"), "gone\n");
  const SharedMemory memory = SharedMemory::create(name, 100);
  EXPECT_EQ(python(name, "try:\n    SharedMemory(n, True, 9)\nexcept FileExistsError:\n    print('there')\n"),
            "there\n");
}

// A ShareableList is in words of 8 bytes: the length, length + 1 offsets into the values, the values (an int is one
// word), a struct format for each; and a byte for each.
TEST_F(PythonSharedMemoryTest, ReadsAndWritesAShareableListWithUs) {
  if (!has_todays_list()) GTEST_SKIP() << "an old python3, with another layout";
  const Name name;
  python(name, "keep(ShareableList([10, -20, 30], name=n).shm)\n");

  SharedMemory memory = SharedMemory::open(name);
  ASSERT_EQ(word_at(memory, 0), 3);
  const auto at = [&](std::size_t index) {
    return 5 + static_cast<std::size_t>(word_at(memory, 1 + index)) / sizeof(std::int64_t);
  };
  EXPECT_EQ(word_at(memory, at(0)), 10);
  EXPECT_EQ(word_at(memory, at(1)), -20);
  EXPECT_EQ(word_at(memory, at(2)), 30);
  set_word_at(memory, at(1), std::numeric_limits<std::int64_t>::min());

  EXPECT_EQ(python(name, "sl = ShareableList(name=n); keep(sl.shm); print(list(sl))"),
            "[10, -9223372036854775808, 30]\n");
}

TEST_F(PythonSharedMemoryTest, ReadsAShareableListThatWeBuilt) {
  if (!has_todays_list()) GTEST_SKIP() << "an old python3, with another layout";
  const Name name;
  const std::vector<std::int64_t> values{1, 2, -3, 4};
  const std::size_t length = values.size();
  SharedMemory memory = SharedMemory::create(name, (2 + 3 * length) * 8 + length);

  set_word_at(memory, 0, static_cast<std::int64_t>(length));
  for (std::size_t i = 0; i <= length; ++i) set_word_at(memory, 1 + i, static_cast<std::int64_t>(8 * i));
  for (std::size_t i = 0; i < length; ++i) set_word_at(memory, 2 + length + i, values[i]);
  for (std::size_t i = 0; i < length; ++i) set_word_at(memory, 2 + 2 * length + i, 'q');

  EXPECT_EQ(python(name, "sl = ShareableList(name=n); keep(sl.shm); sl[0] = 7; print(list(sl))"), "[7, 2, -3, 4]\n");
  EXPECT_EQ(word_at(memory, 2 + length), 7);
}

}  // namespace
