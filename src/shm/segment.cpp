// SPDX-License-Identifier: MIT

#include <multiproc/shm/segment.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string>
#include <type_traits>
#include <vector>

#include <multiproc/error.hpp>
#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/life_mark.hpp>
#include <multiproc/os/result.hpp>

#include "shm/remedy.hpp"

namespace multiproc::detail {

namespace {

// The first bytes of a segment of small objects. `used` is raised by whoever takes a place, in any of the processes
// that have it: a child that was forked goes on where its parent was.
struct ArenaHead {
  static constexpr std::uint64_t kMagic = 0x616e6572'61706d75;  // "umparena"
  static constexpr std::uint32_t kVersion = 1;

  LayoutStamp stamp;
  std::uint64_t pid_namespace;  // of its maker: the owners of locks are known by their thread ids
  std::atomic<std::uint64_t> used;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free && sizeof(ArenaHead) <= kCacheLine);

// Each is twice as large as the one before it, up to a limit: who makes many objects needs few descriptors.
constexpr std::size_t kFirstArena = std::size_t{64} << 10;
constexpr std::size_t kLargestArena = std::size_t{1} << 20;

// Arenas of other processes that nobody here has a handle to stay mapped, the last so many: a lock in one of them may
// be held by a thread that let its handle go.
constexpr std::size_t kMostIdle = 32;

struct Known {
  os::MemoryInfo info;
  std::weak_ptr<Segment> segment;
};

// All segments of this process, and the arenas, which stay. Under the mutex; made at the first use and never destroyed:
// static handles may outlive everything.
struct Registry {
  std::vector<Known> known;
  std::vector<std::shared_ptr<Segment>> arenas;   // made here; the last is the one to take places from
  std::vector<std::shared_ptr<Segment>> adopted;  // made elsewhere
};

constinit os::ForkMutex mutex;
[[maybe_unused]] const bool is_enlisted = mutex.enlist();
Registry* made = nullptr;

Registry& registry() {
  if (made == nullptr) made = new Registry;
  return *made;
}

// Asked once, and anew in a forked child: its parent may have left for another (unshare(2)). 0: not asked yet.
constinit std::atomic<std::uint64_t> home_of_this_process{0};
[[maybe_unused]] const bool forgets_home = os::at_fork(nullptr, nullptr, [] {
                                             if (home_of_this_process.load(std::memory_order_relaxed) != 0) {
                                               home_of_this_process.store(0, std::memory_order_relaxed);
                                             }
                                           }).ok();

bool is_arena(const Segment& segment) noexcept {
  if (segment.size() < sizeof(ArenaHead)) return false;
  const auto& stamp = reinterpret_cast<const ArenaHead*>(segment.begin())->stamp;
  return stamp == LayoutStamp{ArenaHead::kMagic, ArenaHead::kVersion, 0, segment.size()};
}

// Under a limit for files that is smaller than an arena, it serves the children that are forked.
std::shared_ptr<Segment> make_arena_memory(std::size_t size) {
  try {
    return Segment::make(size, "multiproc");
  } catch (const SystemError& refused) {
    if (refused.code().value() != EFBIG) throw;
    return std::make_shared<Segment>(os::Fd{}, os::map_inheritable(size).or_throw("shared memory of this process"));
  }
}

std::shared_ptr<Segment> make_arena(std::size_t size) {
  auto arena = make_arena_memory(size);
  auto* const head = new (arena->begin()) ArenaHead{{ArenaHead::kMagic, ArenaHead::kVersion, 0, size}, pid_home(), {}};
  head->used.store(kCacheLine, std::memory_order_relaxed);
  return arena;
}

// Nothing: it is full.
std::size_t take_from(const Segment& arena, std::size_t size) noexcept {
  auto& used = reinterpret_cast<ArenaHead*>(arena.begin())->used;
  std::uint64_t at = used.load(std::memory_order_relaxed);
  do {
    if (at > arena.size() || arena.size() - at < size) return 0;
  } while (!used.compare_exchange_weak(at, at + size, std::memory_order_relaxed));
  return at;
}

// Takes the oldest that nobody has a handle to out of the list, if there are too many.
std::vector<std::shared_ptr<Segment>> take_idle(std::vector<std::shared_ptr<Segment>>& arenas) {
  const auto is_idle = [](const std::shared_ptr<Segment>& arena) { return arena.use_count() == 1; };
  std::vector<std::shared_ptr<Segment>> taken;
  auto idle = static_cast<std::size_t>(std::count_if(arenas.begin(), arenas.end(), is_idle));
  for (auto at = arenas.begin(); idle > kMostIdle && at != arenas.end();) {
    if (!is_idle(*at)) {
      ++at;
      continue;
    }
    taken.push_back(std::move(*at));
    at = arenas.erase(at);
    --idle;
  }
  return taken;
}

}  // namespace

std::uint64_t pid_home() noexcept {
  std::uint64_t home = home_of_this_process.load(std::memory_order_relaxed);
  if (home == 0) {
    home = os::pid_namespace();
    home_of_this_process.store(home, std::memory_order_relaxed);
  }
  return home;
}

void require_pid_home(std::uint64_t home) {
  if (home == pid_home()) return;
  throw DecodeError(
      "received a shared object of another pid namespace: owners of locks are known by their thread ids, which mean "
      "others here. Share it among processes of one namespace (docker run --pid)");
}

std::shared_ptr<Segment> Segment::make(std::size_t size, const char* label) {
  const std::string object = "shared memory of " + std::to_string(size) + " bytes";
  os::Result<os::Fd> memory = os::make_memory(label, size);
  if (!memory && (memory.error() == EPERM || memory.error() == ENOSYS)) {
    return std::make_shared<Segment>(os::Fd{}, os::map_inheritable(size).or_throw(object));
  }
  if (!memory) os::throw_failure(memory.failure(), object, memory_remedy(memory.error()));
  os::Fd fd = std::move(memory).value();
  os::Result<os::Mapping> mapping = os::map_shared(fd.get(), size);
  if (!mapping) os::throw_failure(mapping.failure(), object, memory_remedy(mapping.error()));
  const os::MemoryInfo info = os::look_at_memory(fd.get()).or_throw(object);
  auto segment = std::make_shared<Segment>(std::move(fd), std::move(mapping).value());
  const os::ForkLock lock(mutex);
  registry().known.push_back({info, segment});
  return segment;
}

std::shared_ptr<Segment> Segment::make_sparse(std::size_t least, std::size_t most, const char* label) {
  constexpr std::size_t kMostInherited = std::size_t{16} << 20;  // all of it counts as used
  for (std::size_t size = std::max(least, most);; size = std::max(least, size / 2)) {
    const std::string object = "shared memory that may grow to " + std::to_string(size) + " bytes";
    os::Failure failure;
    os::Result<os::Fd> memory = os::make_sparse_memory(label, size);
    if (memory) {
      os::Fd fd = std::move(memory).value();
      os::Result<os::Mapping> mapping = os::map_shared(fd.get(), size);
      if (mapping) {
        const os::MemoryInfo info = os::look_at_memory(fd.get()).or_throw(object);
        auto segment = std::make_shared<Segment>(std::move(fd), std::move(mapping).value());
        const os::ForkLock lock(mutex);
        registry().known.push_back({info, segment});
        return segment;
      }
      failure = mapping.failure();
    } else {
      failure = memory.failure();
      if (memory.error() == EPERM || memory.error() == ENOSYS) {
        size = std::max(least, std::min(size, kMostInherited));
        os::Result<os::Mapping> mapping = os::map_inheritable(size);
        if (mapping) return std::make_shared<Segment>(os::Fd{}, std::move(mapping).value());
        failure = mapping.failure();
      }
    }
    const bool is_limit = failure.error == EFBIG || failure.error == ENOMEM || failure.error == EINVAL;
    if (size <= least || !is_limit) os::throw_failure(failure, object, memory_remedy(failure.error));
  }
}

void Segment::reserve(std::size_t offset, std::size_t size) const {
  if (!memory_ || size == 0) return;
  const os::Result<> reserved = os::reserve_range(memory_.get(), offset, size);
  if (!reserved) {
    os::throw_failure(reserved.failure(), std::to_string(size) + " more bytes of shared memory",
                      memory_remedy(reserved.error()));
  }
}

std::shared_ptr<Segment> Segment::adopt(os::Fd memory) {
  const os::MemoryInfo info = os::look_at_memory(memory.get()).or_throw("received shared memory");
  if (!info.keeps_its_size) throw DecodeError("received shared memory is not sealed against shrinking");
  std::shared_ptr<Segment> segment;
  std::vector<std::shared_ptr<Segment>> let_go;  // without the lock, which their end takes
  const os::ForkLock lock(mutex);
  Registry& all = registry();
  for (const Known& known : all.known) {
    if (known.info.same_as(info)) segment = known.segment.lock();
    if (segment) return segment;
  }
  os::Mapping mapping = os::map_shared(memory.get(), info.size).or_throw("received shared memory");
  segment = std::make_shared<Segment>(std::move(memory), std::move(mapping));
  all.known.push_back({info, segment});
  if (is_arena(*segment)) {
    const auto home = reinterpret_cast<const ArenaHead*>(segment->begin())->pid_namespace;
    if (home != pid_home()) let_go.push_back(std::move(segment));
    require_pid_home(home);
    all.adopted.push_back(segment);
    let_go = take_idle(all.adopted);
  }
  return segment;
}

Segment::~Segment() {
  const os::ForkLock lock(mutex);
  if (made != nullptr) std::erase_if(made->known, [](const Known& known) { return known.segment.expired(); });
}

os::Fd Segment::descriptor() const {
  if (!memory_) {
    throw Unsupported(
        "this object can't be sent: the kernel gave no memfd for it (a sandbox's filter?). Forked children inherit it");
  }
  return os::duplicate_fd(memory_.get()).or_throw("shared memory to be sent");
}

Place take_place(std::size_t size) {
  size = (size + kCacheLine - 1) / kCacheLine * kCacheLine;
  for (;;) {
    std::shared_ptr<Segment> arena;
    {
      const os::ForkLock lock(mutex);
      if (!registry().arenas.empty()) arena = registry().arenas.back();
    }
    if (arena) {
      if (const std::size_t offset = take_from(*arena, size); offset != 0) return {arena, offset};
    }
    // Without the lock, which it takes itself. If another thread was quicker, ours goes.
    std::shared_ptr<Segment> fresh = make_arena(arena ? std::min(2 * arena->size(), kLargestArena) : kFirstArena);
    const os::ForkLock lock(mutex);
    auto& arenas = registry().arenas;
    if (arenas.empty() ? arena == nullptr : arenas.back() == arena) arenas.push_back(std::move(fresh));
  }
}

void require_room(const Place& place, std::size_t size, std::size_t alignment) {
  if (place.offset % alignment != 0 || place.offset > place.segment->size() ||
      place.segment->size() - place.offset < size) {
    throw DecodeError("a shared object was received that does not fit into its memory");
  }
}

}  // namespace multiproc::detail
