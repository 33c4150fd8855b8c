// SPDX-License-Identifier: MIT
//
// Shared memory, made by a process that is killed: nobody else notices, and nothing is left.

#include <multiproc/shm/segment.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <vector>

#include <gtest/gtest.h>

#include <multiproc/shm/layout.hpp>
#include <multiproc/shm/shared_memory.hpp>

#include "support/kill_step.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::SharedMemory;
using multiproc::detail::kLargestSmall;
using multiproc::detail::Place;
using multiproc::detail::take_place;
using support::Findings;
using support::Inherited;
using support::KillAt;
using support::KillStep;

// The segment that places are taken from, which stays. All processes of a test go on in it where their parent was, so
// that it has to be rewound: the second word behind its stamp says how much of it is used.
const Place first_place = take_place(1);

std::atomic<std::uint64_t>& used_of_the_arena() {
  auto* const at = first_place.segment->begin() + sizeof(multiproc::LayoutStamp) + sizeof(std::uint64_t);
  return *std::launder(reinterpret_cast<std::atomic<std::uint64_t>*>(at));
}

// Who has which place, by whom it was taken.
struct Taken {
  static constexpr std::size_t kSize = 100;  // two cache lines

  struct One {
    std::atomic<std::uint64_t> offset{0};
    std::atomic<bool> here{false};  // in the arena, and not in one that was made when that was full
  };
  std::array<One, 16> places;
  std::atomic<std::size_t> count{0};

  void take() {
    const Place place = take_place(kSize);
    One& one = places[count.fetch_add(1)];
    one.here = place.segment == first_place.segment;
    one.offset = place.offset;
  }
};

void check_places(Inherited<Taken>& taken, Findings& found) {
  taken->take();
  std::vector<std::uint64_t> begins;
  for (const Taken::One& one : taken->places) {
    if (one.offset == 0) continue;
    if (!one.here) found.leaked("the arena is full");
    begins.push_back(one.offset);
  }
  for (std::size_t a = 0; a < begins.size(); ++a) {
    if (begins[a] % multiproc::kCacheLine != 0) found.corrupt("a place that does not begin with a cache line");
    if (begins[a] < first_place.offset + multiproc::kCacheLine) found.corrupt("a place over the first one");
    if (begins[a] + Taken::kSize > used_of_the_arena()) found.corrupt("a place that counts as free");
    for (std::size_t b = 0; b < a; ++b) {
      const auto apart = begins[a] > begins[b] ? begins[a] - begins[b] : begins[b] - begins[a];
      if (apart < Taken::kSize) found.corrupt("two places overlap");
    }
  }
}

TEST(SegmentKillTest, TakePlace) {
  const std::uint64_t before = used_of_the_arena();
  ASSERT_EQ(take_place(1).segment, first_place.segment);
  ASSERT_EQ(used_of_the_arena(), before + multiproc::kCacheLine) << "another layout than this test knows";

  const auto take = [](Inherited<Taken>& taken) { taken->take(); };
  KillStep<Inherited<Taken>>{
      .name = "take_place",
      .setup =
          [before] {
            used_of_the_arena() = before;
            return Inherited<Taken>{};
          },
      .operation = take,
      .stages = {{.name = "partner comes after", .after = take},
                 {.name = "partner was there before", .before = take, .after = take}},
      .check = check_places,
      .budget = 1s,
  }
      .run();
}

TEST(SegmentKillTest, TakePlaceInAnArenaOfItsOwn) {
  const auto fill = [](int&) {
    for (int i = 0; i < 6; ++i) (void)take_place(kLargestSmall);  // more than one arena has
  };

  KillStep<int>{
      .name = "take_place in a new arena",
      .setup = [] { return 0; },
      .operation = fill,
      .stages = {{.name = "partner comes after", .after = fill}},
      .kill_at = KillAt::every_system_call,
  }
      .run();
}

TEST(SegmentKillTest, Anonymous) {
  const auto make = [](int&) {
    SharedMemory memory = SharedMemory::anonymous(100'000);
    memory.bytes().back() = std::byte{1};
  };

  for (const KillAt kill_at : {KillAt::every_system_call, KillAt::every_instruction}) {
    KillStep<int>{
        .name = kill_at == KillAt::every_instruction ? "SharedMemory::anonymous"
                                                     : "SharedMemory::anonymous, at system calls",
        .setup = [] { return 0; },
        .operation = make,
        .stages = {{.name = "partner comes after", .after = make}},
        .kill_at = kill_at,
        .budget = 1s,
    }
        .run();
  }
}

}  // namespace
