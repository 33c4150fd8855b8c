// SPDX-License-Identifier: MIT

#include "process/running.hpp"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <mutex>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include <multiproc/error.hpp>
#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/os/poll.hpp>
#include <multiproc/os/self.hpp>

namespace multiproc::detail {

/// What becomes of a Running after its birth.
struct Record {
  Running* running = nullptr;
  Record* before = nullptr;
  Record* next = nullptr;  // in the list, or among the unused
  bool is_listed = false;
  std::atomic<pid_t> pid{0};
  std::mutex mutex;  // over the next two; never held while waiting
  os::Child child;
  std::optional<ExitStatus> status;
};

namespace {

// The records of this process. It stands in the memory that it gives out, so that a forked child finds it empty and
// begins anew with the same memory.
struct Book {
  std::atomic<pid_t> owner{0};  // the rest is under the mutex
  Record* first = nullptr;
  Record* last = nullptr;
  Record* unused = nullptr;
  unsigned named = 0;
  std::byte* fresh = nullptr;  // from here to the end of its block: never given out
  std::byte* end = nullptr;
};

constexpr std::size_t kBlock = std::size_t{64} << 10;  // some 400 records; more blocks come as children do, and stay

constinit std::atomic<Book*> made{nullptr};
// Whose it is, said outside of it. In a forked child that has no book of its own yet, a forebear.
constinit std::atomic<pid_t> made_by{0};
constinit std::atomic<bool> is_left_out{
    true};  // of forks; false before Linux 4.14: then a forked child finds its parent's book

// There before all static constructors, and in no need of destruction: static Process objects may outlive it.
constinit os::ForkMutex book_mutex;
[[maybe_unused]] const bool is_enlisted = book_mutex.enlist();

std::span<std::byte> new_block() {
  auto block = os::map_left_out_of_forks(kBlock);
  if (block) return block.value().release();
  if (std::string_view(block.failure().call) != "madvise") {
    os::throw_failure(block.failure(), "records of child processes");
  }
  is_left_out.store(false);
  return {static_cast<std::byte*>(::operator new(kBlock)), kBlock};
}

// Under the mutex.
Book& open_book() {
  Book* book = made.load(std::memory_order_relaxed);
  const bool is_new = book == nullptr;
  if (is_new) book = new (new_block().data()) Book;
  const pid_t owner = book->owner.load(std::memory_order_relaxed);
  if (owner == 0 || (!is_left_out.load() && owner != os::self_pid())) {
    book->first = book->last = book->unused = nullptr;
    book->named = 0;
    book->fresh = reinterpret_cast<std::byte*>(book) + sizeof(Book);
    book->end = reinterpret_cast<std::byte*>(book) + kBlock;
    const pid_t self = os::self_pid();
    book->owner.store(self, std::memory_order_release);
    made_by.store(self, std::memory_order_release);
  }
  if (is_new) {
    std::atexit([] { Children::end_all(); });
    std::at_quick_exit([] { Children::end_all(); });
    made.store(book, std::memory_order_release);
  }
  return *book;
}

Record* take_record(Book& book) {
  if (Record* const used_before = book.unused) {
    book.unused = used_before->next;
    return new (used_before) Record;
  }
  if (static_cast<std::size_t>(book.end - book.fresh) < sizeof(Record)) {
    const std::span block = new_block();
    book.fresh = block.data();
    book.end = block.data() + block.size();
  }
  static_assert(sizeof(Book) % alignof(Record) == 0 && alignof(Book) >= alignof(Record));
  return new (std::exchange(book.fresh, book.fresh + sizeof(Record))) Record;
}

void unlist(Book& book, Record& record) noexcept {
  if (!record.is_listed) return;
  (record.before != nullptr ? record.before->next : book.first) = record.next;
  (record.next != nullptr ? record.next->before : book.last) = record.before;
  record.is_listed = false;
}

Record& make_record(Running& running) {
  const os::ForkLock lock(book_mutex);
  Book& book = open_book();
  Record& record = *take_record(book);
  record.running = &running;
  record.before = book.last;
  (book.last != nullptr ? book.last->next : book.first) = &record;
  book.last = &record;
  record.is_listed = true;
  return record;
}

// The child that stands at `place` among those that are born. Null: there is none.
std::shared_ptr<Running> born_child(const Book& book, std::size_t place) noexcept {
  const os::ForkLock lock(book_mutex);
  for (const Record* record = book.first; record != nullptr; record = record->next) {
    if (record->pid.load(std::memory_order_acquire) == 0) continue;
    auto running = record->running->weak_from_this().lock();  // null: another thread is about to destroy it
    if (running && place-- == 0) return running;
  }
  return nullptr;
}

}  // namespace

pid_t this_pid() noexcept {
  const Book* book = is_left_out.load(std::memory_order_relaxed) ? made.load(std::memory_order_acquire) : nullptr;
  const pid_t owner = book != nullptr ? book->owner.load(std::memory_order_acquire) : 0;
  return owner != 0 ? owner : os::self_pid();
}

Running::Running(std::string name, bool daemon)
    : owner_(this_pid()), name_(std::move(name)), daemon_(daemon), record_(make_record(*this)) {}

Running::~Running() {
  if (!is_ours()) return;
  const os::ForkLock lock(book_mutex);
  Book& book = open_book();
  unlist(book, record_);
  record_.~Record();
  Record* const left = new (&record_) Record;
  left->next = std::exchange(book.unused, left);
}

void Running::born(os::Child child, std::optional<ExitStatus> ended) noexcept {
  record_.child = std::move(child);
  record_.status = ended;
  record_.pid.store(record_.child.pid(), std::memory_order_release);
}

pid_t Running::pid() const noexcept {
  return record_.pid.load(std::memory_order_acquire);
}

int Running::sentinel() const {
  if (!is_ours()) {
    throw InvalidState("process '" + name_ + "' belongs to the process that started it, of which this is a copy");
  }
  const std::lock_guard lock(record_.mutex);
  if (const auto settled = record_.child.settle(); !settled) {
    os::throw_failure(settled.failure(), "the sentinel of process '" + name_ + "'");
  }
  if (record_.child.sentinel() < 0) os::throw_failure({"eventfd", EMFILE}, "the sentinel of process '" + name_ + "'");
  return record_.child.sentinel();
}

bool Running::is_ours() const noexcept {
  return owner_ == this_pid() && record_.running == this;  // and not a namesake of a forebear that is gone
}

template <class T>
T Running::taken(const os::Result<T>& result) const {
  if (!result) os::throw_failure(result.failure(), "process '" + name_ + "'");
  return result.value();
}

std::optional<ExitStatus> Running::poll() const {
  const std::lock_guard lock(record_.mutex);
  if (!record_.status) {
    if (!record_.child.is_newborn()) (void)record_.child.settle();  // refused: the pid will do, but for thieves
    record_.status = taken(record_.child.reap());
  }
  return record_.status;
}

bool Running::ended() const {
  return !is_ours() || poll().has_value();
}

bool Running::wait(Deadline deadline) const {
  if (!is_ours()) return true;
  if (deadline.is_never() && os::is_single_threaded()) {  // nobody to ask and signal meanwhile
    if (!record_.status) record_.status = taken(record_.child.wait_and_reap());
    return true;
  }
  for (;;) {
    bool is_settled = false;
    {
      const std::lock_guard lock(record_.mutex);
      if (record_.status) return true;
      is_settled = record_.child.settle().ok();
      if (!is_settled) record_.status = taken(record_.child.reap());
      if (record_.status) return true;
    }
    // Without the lock: others may ask and signal meanwhile. A settled child stays as it is until this object goes; one
    // that is not, for lack of a descriptor, is looked at now and then.
    if (is_settled) {
      if (!taken(record_.child.wait(deadline))) return false;
      if (poll()) return true;
    } else {
      if (deadline.passed()) return false;
      (void)os::poll_all({}, Deadline::earlier(deadline, os::kLookInterval));
    }
  }
}

void Running::send(int signal) const {
  const std::lock_guard lock(record_.mutex);  // a status taken meanwhile would free the pid for a stranger
  if (record_.status) return;
  (void)record_.child.settle();
  const auto sent = record_.child.send(signal);
  if (!sent) os::throw_failure(sent.failure(), "process '" + name_ + "', signal " + std::to_string(signal));
}

unsigned Children::next_number() {
  const os::ForkLock lock(book_mutex);
  return ++open_book().named;
}

// The end of its lifeline reaches a daemon that this process may not signal: the kernel asks what its user was when it
// asked for that signal.
void Running::kill() const noexcept {
  const std::lock_guard lock(record_.mutex);
  if (record_.status) return;
  (void)record_.child.settle();
  if (!record_.child.send(SIGKILL)) lifeline_.reset();
}

std::vector<std::shared_ptr<Running>> Children::all() {
  std::vector<std::shared_ptr<Running>> born;
  std::shared_ptr<Running> running;  // outlives the lock, which its destructor takes
  const os::ForkLock lock(book_mutex);
  for (Record* record = open_book().first; record != nullptr; record = record->next) {
    if (record->pid.load(std::memory_order_acquire) == 0) continue;
    running = record->running->weak_from_this().lock();
    if (running) born.push_back(running);
  }
  return born;
}

void Children::remove(const Running& child) noexcept {
  const os::ForkLock lock(book_mutex);
  unlist(open_book(), child.record_);
}

[[gnu::hot]] void Children::end_all() noexcept {
  // No look at the book: in a child that has started nothing each page that it touches costs.
  if (made_by.load(std::memory_order_acquire) != os::self_pid()) return;
  const Book* const made_book = made.load(std::memory_order_acquire);
  if (made_book == nullptr) return;  // another thread is at its first start
  const Book& book = *made_book;
  std::size_t count = 0;  // not those that other threads go on to start
  {
    const os::ForkLock lock(book_mutex);
    for (const Record* record = book.first; record != nullptr; record = record->next) ++count;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::shared_ptr<Running> child = born_child(book, i);
    if (!child) break;
    if (child->daemon()) child->kill();  // without the lock, for it may take others that a fork takes
  }
  for (; count > 0; --count) {
    const std::shared_ptr<Running> child = born_child(book, 0);
    if (!child) return;
    end(*child);
  }
}

void Children::end(const Running& child) noexcept {
  if (child.daemon()) child.kill();
  try {
    child.wait(Deadline::never());
  } catch (...) {
  }
  remove(child);
}

}  // namespace multiproc::detail
