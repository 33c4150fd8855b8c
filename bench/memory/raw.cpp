// SPDX-License-Identifier: MIT
//
// The system calls alone, the C library's robust mutex around a counter, and memory of one process.

#include <cerrno>
#include <memory>
#include <stdexcept>
#include <string>

#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <benchmark/benchmark.h>

#include "memory/workload.hpp"

namespace {

using namespace memory_bench;

std::span<std::byte> map(int memory, std::size_t size) {
  void* at = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
  if (at == MAP_FAILED) throw std::runtime_error("mmap");
  return {static_cast<std::byte*>(at), size};
}

// What a block that can't shrink, and whose memory is there, takes at the least.
void anonymous_raw(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  bool ok = true;
  for (auto _ : state) {
    const int memory = ::memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ok &= ::fallocate(memory, 0, 0, static_cast<off_t>(size)) == 0;
    ok &= ::fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0;
    const auto block = map(memory, size);
    ok &= is_one_memory(block, block);
    ::munmap(block.data(), size);
    ::close(memory);
  }
  if (!ok) state.SkipWithError("a call failed");
}
BENCHMARK(anonymous_raw)->Arg(kPage)->Arg(kMebibyte);

void named_raw(benchmark::State& state) {
  const auto size = static_cast<std::size_t>(state.range(0));
  constexpr const char* kName = "/multiproc-bench-raw";
  bool ok = true;
  for (auto _ : state) {
    const int made = ::shm_open(kName, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    ok &= ::posix_fallocate(made, 0, static_cast<off_t>(size)) == 0;
    const auto block = map(made, size);
    const int opened = ::shm_open(kName, O_RDWR | O_CLOEXEC, 0600);
    const auto attached = map(opened, size);
    ok &= is_one_memory(block, attached);
    ::shm_unlink(kName);
    ::munmap(block.data(), size);
    ::munmap(attached.data(), size);
    ::close(made);
    ::close(opened);
  }
  if (!ok) state.SkipWithError("a call failed");
}
BENCHMARK(named_raw)->Arg(kPage)->Arg(kMebibyte);

void increment_robust(benchmark::State& state) {
  struct Counter {
    pthread_mutex_t mutex;
    volatile std::int64_t count;
  };
  const int memory = ::memfd_create("bench", MFD_CLOEXEC);
  if (::ftruncate(memory, kPage) != 0) return state.SkipWithError("ftruncate");
  const auto page = map(memory, kPage);
  ::close(memory);
  auto* const counter = reinterpret_cast<Counter*>(page.data());
  pthread_mutexattr_t kind;
  ::pthread_mutexattr_init(&kind);
  ::pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&counter->mutex, &kind);
  for (auto _ : state) {
    if (::pthread_mutex_lock(&counter->mutex) != 0) return state.SkipWithError("pthread_mutex_lock");
    counter->count = counter->count + 1;
    ::pthread_mutex_unlock(&counter->mutex);
  }
  if (counter->count != static_cast<std::int64_t>(state.iterations())) state.SkipWithError("the count is wrong");
  ::munmap(page.data(), page.size());
}
BENCHMARK(increment_robust);

void copy_heap(benchmark::State& state) {
  const std::size_t size = size_of_array();
  const auto target = std::make_unique<std::byte[]>(size);
  copy_to(state, {target.get(), size});
}
BENCHMARK(copy_heap);

}  // namespace
