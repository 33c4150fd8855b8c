// SPDX-License-Identifier: MIT

#include <multiproc/os/life_mark.hpp>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>
#include <utility>

#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/os/pipe.hpp>

#include "os/os_test.hpp"

namespace {

using multiproc::os::is_gone;
using multiproc::os::LifeMark;
using multiproc::os::look_whether_gone;
using multiproc::os::own_life_mark;
using multiproc::os::pid_of;

// A child that tells its mark and then does as `body` says.
template <class Body>
std::pair<pid_t, LifeMark> marked_child(Body body) {
  const auto pipe = multiproc::os::make_pipe();
  const pid_t child = ::fork();
  if (child == 0) {
    const LifeMark mark = own_life_mark().value();
    if (::write(pipe.value().write.get(), &mark, sizeof mark) != sizeof mark) ::_exit(1);
    body();
    ::_exit(0);
  }
  LifeMark mark = 0;
  EXPECT_EQ(::read(pipe.value().read.get(), &mark, sizeof mark), static_cast<ssize_t>(sizeof mark));
  return {child, mark};
}

TEST(LifeMarkTest, OnesOwnIsAliveFitsItsBitsAndStaysTheSame) {
  const auto mark = own_life_mark();

  ASSERT_TRUE(mark);
  EXPECT_EQ(pid_of(mark.value()), ::getpid());
  EXPECT_FALSE(is_gone(mark.value()));
  EXPECT_EQ(mark.value() >> multiproc::os::kLifeMarkBits, 0U);
  EXPECT_EQ(own_life_mark().value(), mark.value());
}

TEST(LifeMarkTest, AChildIsAliveUntilItEndsAndGoneAsAZombieAndAfterwards) {
  const auto [child, mark] = marked_child([] { ::pause(); });
  EXPECT_EQ(pid_of(mark), child);
  EXPECT_FALSE(is_gone(mark));

  ::kill(child, SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  EXPECT_TRUE(is_gone(mark));

  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(is_gone(mark));
}

TEST(LifeMarkTest, AnotherProcessUnderThatPidIsNotTheOneThatWas) {
  const LifeMark mark = own_life_mark().value();
  const LifeMark earlier = mark - (LifeMark{1} << 22);  // same pid, begun a tick before

  EXPECT_EQ(pid_of(earlier), ::getpid());
  EXPECT_TRUE(is_gone(earlier));
}

TEST(LifeMarkTest, AProcessWhoseMainThreadHasLeftLivesOn) {
  const auto pipe = multiproc::os::make_pipe();
  static int go = -1;
  go = pipe.value().read.get();
  const auto [child, mark] = marked_child([&] {
    pthread_t thread{};
    ::close(pipe.value().write.get());
    ::pthread_create(
        &thread, nullptr,
        [](void*) -> void* {
          char byte = 0;
          (void)!::read(go, &byte, 1);
          ::_exit(0);
        },
        nullptr);
    ::syscall(SYS_exit, 0);  // pthread_exit would unwind through the caller
  });

  const std::string task = "/proc/" + std::to_string(child) + "/stat";
  for (char state = '?'; state != 'Z';) {  // until the leader has gone
    std::FILE* stat = std::fopen(task.c_str(), "r");
    ASSERT_NE(stat, nullptr);
    ASSERT_EQ(std::fscanf(stat, "%*d (%*[^)]) %c", &state), 1);
    std::fclose(stat);
  }
  EXPECT_FALSE(is_gone(mark));

  EXPECT_EQ(::write(pipe.value().write.get(), "!", 1), 1);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(is_gone(mark));
}

TEST(LifeMarkTest, WithoutProcNothingIsProved) {
  const LifeMark mark = own_life_mark().value();
  const os_test::Refusing refusing("open", EACCES, 1, 2);

  EXPECT_EQ(own_life_mark().error(), EACCES);
  EXPECT_FALSE(is_gone(mark));
}

TEST(LifeMarkTest, WithoutADescriptorOnesOwnDeadAreKnownAndOfTheLivingItCanNotSay) {
  const auto [child, mark] = marked_child([] { ::pause(); });
  for (const int error : {EMFILE, ENFILE, ENOMEM}) {
    const os_test::Refusing refusing("open", error, 1, 2);
    EXPECT_EQ(look_whether_gone(mark).error(), error);
    EXPECT_FALSE(is_gone(mark));
  }
  ASSERT_TRUE(look_whether_gone(mark));
  EXPECT_FALSE(look_whether_gone(mark).value());

  ::kill(child, SIGKILL);
  siginfo_t info{};
  ::waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  {
    const os_test::Refusing refusing("open", EMFILE, 1, 2);
    ASSERT_TRUE(look_whether_gone(mark));
    EXPECT_TRUE(is_gone(mark));
  }
  EXPECT_EQ(::waitpid(child, nullptr, 0), child) << "it was left to be reaped";
  EXPECT_TRUE(look_whether_gone(mark).value());
}

TEST(LifeMarkTest, ANamespaceHasANumberThatStaysTheSame) {
  EXPECT_NE(multiproc::os::pid_namespace(), 0U);
  EXPECT_EQ(multiproc::os::pid_namespace(), multiproc::os::pid_namespace());
}

}  // namespace
