// SPDX-License-Identifier: MIT
//
// The sync floor under a kernel that refuses: whichever call, whatever error.

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <string>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/shm/segment.hpp>
#include <multiproc/sync/bounded_semaphore.hpp>
#include <multiproc/sync/event.hpp>
#include <multiproc/sync/lock.hpp>
#include <multiproc/sync/rlock.hpp>
#include <multiproc/sync/semaphore.hpp>

#include "shm/errno_sweep.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::BoundedSemaphore;
using multiproc::Event;
using multiproc::Lock;
using multiproc::RLock;
using multiproc::Semaphore;
using sweep_test::expect_clean_sweep;
using sweep_test::Sweep;

// Made before the first test, for the memory that small objects share is filled by the children of this program.
const Semaphore nothing_there(0);
const Event not_set;
const BoundedSemaphore one_permit(1);

// The memory that small objects share comes in pieces that grow to this.
constexpr std::size_t kLargestArena = std::size_t{1} << 20;

// Leaves no room in it, so that the next object needs a new piece. That stays for the life of the process, and with it
// a descriptor.
void fill_the_arena() {
  namespace detail = multiproc::detail;
  for (;;) {
    const detail::Place place = detail::take_place(multiproc::kCacheLine);
    const std::size_t size = place.segment->size();
    if (size == kLargestArena && place.offset + multiproc::kCacheLine == size) return;
  }
}

// The opposite.
void make_room() {
  namespace detail = multiproc::detail;
  for (;;) {
    const detail::Place place = detail::take_place(multiproc::kCacheLine);
    if (place.segment->size() - place.offset > 8192) return;
  }
}

template <class T>
Sweep construction() {
  return {.calls = {"memfd_create", "fallocate", "fcntl", "mmap", "fstat"},
          .object = "shared memory of 1048576 bytes",
          .before = fill_the_arena,
          .act = [] { const T made; }};
}

TEST(SyncErrnoSweepTest, Lock) {
  expect_clean_sweep(construction<Lock>());
  expect_clean_sweep(
      {.calls = {"pthread_mutex_init"}, .object = "a new lock", .before = make_room, .act = [] { const Lock lock; }});
}

TEST(SyncErrnoSweepTest, RLock) {
  expect_clean_sweep(construction<RLock>());
  expect_clean_sweep(
      {.calls = {"pthread_mutex_init"}, .object = "a new lock", .before = make_room, .act = [] { const RLock lock; }});
}

TEST(SyncErrnoSweepTest, Semaphore) {
  expect_clean_sweep(construction<Semaphore>());
}

TEST(SyncErrnoSweepTest, Event) {
  expect_clean_sweep(construction<Event>());
}

TEST(SyncErrnoSweepTest, BoundedSemaphore) {
  expect_clean_sweep(construction<BoundedSemaphore>());
  expect_clean_sweep(
      {.calls = {"pthread_mutex_init"}, .object = "a new BoundedSemaphore", .before = make_room, .act = [] {
         const BoundedSemaphore semaphore;
       }});
}

TEST(SyncErrnoSweepTest, ABoundedSemaphoreWithMemoryOfItsOwn) {
  expect_clean_sweep({.calls = {"memfd_create", "fallocate", "fcntl", "mmap", "fstat"},
                      .object = "shared memory of 65664 bytes",
                      .act = [] { const BoundedSemaphore semaphore(100'000); }});
}

TEST(SyncErrnoSweepTest, WaitingForASemaphore) {
  const Semaphore& semaphore = nothing_there;
  expect_clean_sweep({.calls = {"futex"},
                      .object = "shared memory",
                      .act = [&] { EXPECT_FALSE(semaphore.acquire(5ms)); },
                      .on_refusal = [&] { EXPECT_EQ(semaphore.value(), 0); }});
  semaphore.release();
  EXPECT_TRUE(semaphore.try_acquire());
}

TEST(SyncErrnoSweepTest, WaitingForAnEvent) {
  const Event& event = not_set;
  expect_clean_sweep({.calls = {"futex"},
                      .object = "shared memory",
                      .act = [&] { EXPECT_FALSE(event.wait(5ms)); },
                      .on_refusal = [&] { EXPECT_FALSE(event.is_set()); }});
  event.set();
  EXPECT_TRUE(event.wait(5ms));
}

TEST(SyncErrnoSweepTest, WaitingForAPermit) {
  const BoundedSemaphore& semaphore = one_permit;
  semaphore.acquire();
  expect_clean_sweep({.calls = {"futex"},
                      .object = "shared memory",
                      .act = [&] { EXPECT_FALSE(semaphore.acquire(5ms)); },
                      .on_refusal = [&] { EXPECT_EQ(semaphore.value(), 0); }});
  semaphore.release();
  EXPECT_TRUE(semaphore.try_acquire());
  semaphore.release();
}

// What wakes others does not fail where the kernel refuses: they look by themselves.
TEST(SyncErrnoSweepTest, WakingOthersIsNeverRefused) {
  const auto child = support::in_child([] {
    for (const int error : {ENOMEM, EPERM, ENOSYS, EINTR}) {
      const Semaphore semaphore(0);
      const Event event;
      const BoundedSemaphore permits(1);
      permits.acquire();
      EXPECT_FALSE(semaphore.acquire(30ms));  // leaves the mark of a sleeper
      EXPECT_FALSE(event.wait(30ms));
      EXPECT_FALSE(permits.acquire(30ms));
      {
        const os_test::Refusing refusing{"futex", error, 1, 100};
        EXPECT_NO_THROW(semaphore.release());
        EXPECT_NO_THROW(event.set());
        EXPECT_NO_THROW(permits.release());
        EXPECT_EQ(multiproc::os::fault::seen("futex"), 3);
      }
      EXPECT_EQ(semaphore.value(), 1);
      EXPECT_TRUE(event.is_set());
      EXPECT_EQ(permits.value(), 1);
    }
  });
  EXPECT_EQ(child.status, 0) << child.out << child.err;
}

}  // namespace
