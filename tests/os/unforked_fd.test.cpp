// SPDX-License-Identifier: MIT

#include <multiproc/os/unforked_fd.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <memory>
#include <thread>

#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/socket.hpp>

#include "os/os_test.hpp"

namespace {

using namespace multiproc::os;

using Pair = std::array<UnforkedFd, 2>;

int sockets_here() {
  int count = 0;
  for (const auto& [fd, leads_to] : os_test::descriptors()) count += leads_to.starts_with("socket:") ? 1 : 0;
  return count;
}

TEST(UnforkedFdTest, IsOpenHereAndClosedInAForkedChild) {
  Pair ends;
  ASSERT_TRUE(make_unforked(ends, make_socket_pair));
  const std::array<int, 2> numbers{ends[0].get(), ends[1].get()};

  os_test::PlainChild child{[&] {
    for (const int number : numbers) {
      if (os_test::is_open(number)) ::_exit(1);
    }
    for (const UnforkedFd& end : ends) {
      if (end) ::_exit(2);
    }
  }};

  EXPECT_EQ(child.wait(), 0);
  for (const UnforkedFd& end : ends) EXPECT_TRUE(os_test::is_open(end.get()));
}

TEST(UnforkedFdTest, ClosesWhenItGoesInWhateverOrder) {
  const auto before = os_test::descriptors();
  auto first = std::make_unique<Pair>();
  auto second = std::make_unique<Pair>();
  auto third = std::make_unique<Pair>();
  for (const auto& ends : {first.get(), second.get(), third.get()}) {
    ASSERT_TRUE(make_unforked(*ends, make_socket_pair));
  }

  second.reset();
  (*first)[1].reset();
  (*first)[1].reset();
  EXPECT_FALSE((*first)[1]);
  const int left = sockets_here();
  os_test::PlainChild child{[] { ::_exit(sockets_here()); }};
  EXPECT_EQ(WEXITSTATUS(child.wait()), left - 3);
  first.reset();
  third.reset();

  EXPECT_EQ(os_test::descriptors(), before);
}

TEST(UnforkedFdTest, FilledOnceMoreItClosesWhatItHad) {
  const auto before = os_test::descriptors();
  {
    Pair ends;
    for (int round = 0; round < 3; ++round) ASSERT_TRUE(make_unforked(ends, make_socket_pair));
    EXPECT_EQ(os_test::descriptors().size(), before.size() + 2);
  }
  EXPECT_EQ(os_test::descriptors(), before);
}

TEST(UnforkedFdTest, ARefusalLeavesNothing) {
  Pair ends;
  os_test::expect_each_refusal("socketpair", {EMFILE, ENOMEM}, [&] {
    auto made = make_unforked(ends, make_socket_pair);
    for (UnforkedFd& end : ends) end.reset();
    return made;
  });
}

// The child's own are its own: the list that it begins with is empty, and works.
TEST(UnforkedFdTest, AForkedChildMakesItsOwn) {
  Pair ends;
  ASSERT_TRUE(make_unforked(ends, make_socket_pair));

  os_test::PlainChild child{[&] {
    const int before = sockets_here();
    Pair own;
    if (!make_unforked(own, make_socket_pair) || sockets_here() != before + 2) ::_exit(1);
    os_test::PlainChild grandchild{[before] { ::_exit(sockets_here() == before ? 0 : 1); }};
    if (grandchild.wait() != 0) ::_exit(2);
    for (UnforkedFd& end : own) end.reset();
    for (UnforkedFd& end : ends) end.reset();
    if (sockets_here() != before) ::_exit(3);
  }};

  EXPECT_EQ(child.wait(), 0);
}

TEST(UnforkedFdTest, NoForkComesBetweenTheMakingAndThePromise) {
  const int before = sockets_here();
  std::atomic<bool> over{false};
  std::thread maker{[&] {
    Pair ends;
    while (!over) {
      ASSERT_TRUE(make_unforked(ends, make_socket_pair));
      for (UnforkedFd& end : ends) end.reset();
    }
  }};

  int kept = 0;
  for (int round = 0; round < 300; ++round) {
    os_test::PlainChild child{[before] { ::_exit(sockets_here() - before); }};
    kept += WEXITSTATUS(child.wait());
  }
  over = true;
  maker.join();

  EXPECT_EQ(kept, 0);
}

}  // namespace
