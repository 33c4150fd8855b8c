// SPDX-License-Identifier: MIT
//
// lock/workload.hpp: questions to every lock: what it costs alone, how much two processes get through it, how long it
// takes to come back from an owner that was killed; and how long a sleeper takes to come back.
//
// A contender is a class that lies in memory shared by fork:
//
//     struct Contender {
//       bool lock();     // false: it failed
//       bool unlock();
//     };
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include <sys/mman.h>

#include <benchmark/benchmark.h>

namespace lock_bench {

/// One T in a mapping that forked children share.
template <class T>
class Common {
 public:
  template <class... Args>
  explicit Common(Args&&... args) {
    void* at = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::bad_alloc();
    object_ = new (at) T(std::forward<Args>(args)...);
  }
  Common(const Common&) = delete;
  Common& operator=(const Common&) = delete;
  ~Common() { ::munmap(object_, sizeof(T)); }  // T itself is left as it is

  T& operator*() const noexcept { return *object_; }
  T* operator->() const noexcept { return object_; }

 private:
  T* object_;
};

/// A process that runs `body(context)` once go() is called and ends by exit code 0 when that was true. Held on the
/// `cpu`-th of the CPUs that this process may use.
class Runner {
 public:
  Runner(bool (*body)(void*), void* context, unsigned cpu);
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  ~Runner();

  void go();
  /// Waits for its end. Whether that was with exit code 0.
  bool ended_well();
  bool is_asleep() const;  // in a system call
  void kill();

 private:
  int pid_ = -1;
  int start_ = -1;
};

std::size_t rounds_of_each();
std::int64_t now_ns() noexcept;

template <class Contender>
void alone(benchmark::State& state) {
  Common<Contender> lock;
  bool ok = true;
  for (auto _ : state) {
    ok &= lock->lock();
    benchmark::ClobberMemory();
    ok &= lock->unlock();
  }
  if (!ok) state.SkipWithError("the lock failed");
}

template <class Contender>
struct Counted {
  alignas(64) Contender lock;
  alignas(64) std::uint64_t count = 0;  // what it guards
  std::size_t rounds = rounds_of_each();
};

/// Two processes, each with a CPU of its own if there are two, raise one counter under the lock. Time is per round.
template <class Contender>
void contended(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    Common<Counted<Contender>> shared;
    const auto body = [](void* context) {
      auto& it = *static_cast<Counted<Contender>*>(context);
      bool ok = true;
      for (std::size_t i = 0; i < it.rounds; ++i) {
        ok &= it.lock.lock();
        ++it.count;
        ok &= it.lock.unlock();
      }
      return ok;
    };
    Runner first(body, &*shared, 0);
    Runner second(body, &*shared, 1);
    const std::int64_t began = now_ns();
    first.go();
    second.go();
    const bool first_ok = first.ended_well();
    const bool second_ok = second.ended_well();
    const std::int64_t took = now_ns() - began;
    const std::size_t all = 2 * shared->rounds;
    state.SetIterationTime(1e-9 * static_cast<double>(took) / static_cast<double>(all));
    if (!first_ok || !second_ok) return state.SkipWithError("a process failed");
    if (shared->count != all) return state.SkipWithError("the count is wrong");
  }
  state.counters["rounds/s"] = benchmark::Counter(1, benchmark::Counter::kIsRate);
}

template <class Contender>
struct HandedOver {
  alignas(64) Contender lock;
  std::atomic<bool> is_held{false};
  std::atomic<std::int64_t> had_at{0};
};

/// From the SIGKILL of the owner until the waiter, asleep on another CPU, has the lock.
template <class Contender>
void hand_over(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    Common<HandedOver<Contender>> shared;
    Runner owner(
        [](void* context) {
          auto& it = *static_cast<HandedOver<Contender>*>(context);
          if (!it.lock.lock()) return false;
          it.is_held = true;
          for (;;) std::atomic_signal_fence(std::memory_order_seq_cst);  // runs, until it is killed
        },
        &*shared, 0);
    Runner waiter(
        [](void* context) {
          auto& it = *static_cast<HandedOver<Contender>*>(context);
          if (!it.lock.lock_after_death()) return false;
          it.had_at = now_ns();
          return it.lock.unlock();
        },
        &*shared, 1);
    owner.go();
    while (!shared->is_held) {
    }
    waiter.go();
    while (!waiter.is_asleep()) {
    }
    const std::int64_t killed = now_ns();
    owner.kill();
    if (!waiter.ended_well()) return state.SkipWithError("the waiter was not told of the owner's death");
    state.SetIterationTime(1e-9 * static_cast<double>(shared->had_at - killed));
  }
}

inline constexpr std::size_t kWakes = 100;

template <class Contender>
struct Woken {
  alignas(64) Contender door;
  std::atomic<std::size_t> rounds{0};
  std::atomic<std::int64_t> at{0};
};

/// From the call that wakes until a waiter, asleep on another CPU, has come back: the median of a hundred. A contender
/// here has wait() and wake().
template <class Contender>
void wake(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) {
    Common<Woken<Contender>> shared;
    Runner waiter(
        [](void* context) {
          auto& it = *static_cast<Woken<Contender>*>(context);
          for (std::size_t round = 1; round <= kWakes; ++round) {
            if (!it.door.wait()) return false;
            it.at = now_ns();
            it.rounds = round;
          }
          return true;
        },
        &*shared, 1);
    waiter.go();
    std::vector<std::int64_t> took;
    for (std::size_t round = 1; round <= kWakes; ++round) {
      while (!waiter.is_asleep()) {
      }
      const std::int64_t began = now_ns();
      shared->door.wake();
      while (shared->rounds != round) {
      }
      took.push_back(shared->at - began);
    }
    if (!waiter.ended_well()) return state.SkipWithError("the waiter failed");
    std::nth_element(took.begin(), took.begin() + kWakes / 2, took.end());
    state.SetIterationTime(1e-9 * static_cast<double>(took[kWakes / 2]));
  }
}

}  // namespace lock_bench
