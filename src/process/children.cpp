// SPDX-License-Identifier: MIT

#include "process/children.hpp"

#include <cstdlib>
#include <new>
#include <span>
#include <string_view>
#include <utility>

#include <multiproc/os/at_fork.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/os/self.hpp>

#include "process/running.hpp"

namespace multiproc::detail {

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
// Of forks. False before Linux 4.14: then a forked child finds its parent's book.
constinit std::atomic<bool> is_left_out{true};

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

unsigned Children::next_number() {
  const os::ForkLock lock(book_mutex);
  return ++open_book().named;
}

Record& Children::enter(Running& child) {
  const os::ForkLock lock(book_mutex);
  Book& book = open_book();
  Record& record = *take_record(book);
  record.running = &child;
  record.before = book.last;
  (book.last != nullptr ? book.last->next : book.first) = &record;
  book.last = &record;
  record.is_listed = true;
  return record;
}

void Children::leave(Record& record) noexcept {
  const os::ForkLock lock(book_mutex);
  Book& book = open_book();
  unlist(book, record);
  record.~Record();
  Record* const left = new (&record) Record;
  left->next = std::exchange(book.unused, left);
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
