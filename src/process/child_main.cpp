// SPDX-License-Identifier: MIT

#include "process/child_main.hpp"

#include <cxxabi.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <typeinfo>

#if __has_include(<ext/stdio_sync_filebuf.h>)
#include <ext/stdio_sync_filebuf.h>
#endif

#include <multiproc/os/fd.hpp>
#include <multiproc/os/self.hpp>
#include <multiproc/os/streams.hpp>
#include <multiproc/process/print.hpp>

#include "os/sanitizer.hpp"
#include "process/children.hpp"
#include "process/exit_stop.hpp"
#include "process/identity.hpp"
#include "process/print_family.hpp"

namespace multiproc::detail {

namespace {

// A stream that the program told to throw (exceptions()) must not throw at us. One that goes through stdio, as all of
// them do until sync_with_stdio(false), holds nothing; not calling into libstdc++ saves a child five page faults.
template <class Char>
[[gnu::hot]] void flush(std::basic_ostream<Char>& stream) noexcept {
  if (stream.rdbuf() == nullptr) return;
#if __has_include(<ext/stdio_sync_filebuf.h>)
  // By the address of its virtual table, once that is known: the type's own description is on pages further on.
  static constinit std::atomic<const void*> known{nullptr};
  const std::basic_streambuf<Char>& buffer = *stream.rdbuf();
  const void* table = nullptr;
  std::memcpy(&table, static_cast<const void*>(&buffer), sizeof table);
  if (table == known.load(std::memory_order_relaxed)) return;
  if (typeid(buffer) == typeid(__gnu_cxx::stdio_sync_filebuf<Char>)) return known.store(table);
#endif
  try {
    stream.flush();
  } catch (...) {
  }
}

std::string describe(const std::exception& error);

// "std::runtime_error: no such book", and a line for each exception nested in it.
std::string describe_current() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  std::string name = type != nullptr ? type_name(*type) : "an exception of foreign origin";
  try {
    throw;
  } catch (const std::exception& error) {
    return name + ": " + describe(error);
  } catch (const std::string& text) {
    return name + ": " + text;
  } catch (const char* text) {
    return name + ": " + (text != nullptr ? text : "(null)");
  } catch (...) {
    return name;
  }
}

std::string describe(const std::exception& error) {
  const char* what = error.what();
  std::string text = what != nullptr ? what : "(no text)";
  try {
    std::rethrow_if_nested(error);
  } catch (...) {
    text += "\n  caused by " + describe_current();
  }
  return text;
}

// By print(): whole among the reports of others, however long it is, and no SIGPIPE where nobody reads any more.
void tell_uncaught() noexcept {
  std::string text;
  try {
    text = "multiproc: process '" + identity().name + "' (pid " + std::to_string(os::self_pid()) +
           ") ended by an uncaught exception\n  " + describe_current() + "\n";
  } catch (...) {
    constexpr char kBare[] = "multiproc: a process ended by an uncaught exception (no memory left to tell more)\n";
    (void)os::write_all(2, std::as_bytes(std::span(kBare, sizeof kBare - 1)));
    return;
  }
  try {
    print(stderr, "{}", text);
  } catch (...) {  // nobody to tell
  }
}

[[noreturn]] void end_spawned(int code) noexcept {
  Children::end_all();
  std::exit(code);
}

// No check for null: to UBSan the exception of pthread_exit, which has no address, is a null reference.
[[noreturn, gnu::hot]] __attribute__((no_sanitize("null"))) void run_target(Task& task,
                                                                            void (*end)(int) noexcept) noexcept {
  int code = 0;
  try {
    task.run();
  } catch (abi::__forced_unwind&) {
    // pthread_exit. It may neither go on (the frames above are not this target's) nor be dropped (glibc aborts).
    end(0);
  } catch (...) {
    flush_all();  // its last words come after what it said before
    tell_uncaught();
    code = 1;
  }
  end(code);
  std::abort();  // not reached: `end` does not return, which its type can't say
}

}  // namespace

[[gnu::hot]] void flush_all() noexcept {
  flush(std::cout);
  flush(std::clog);
  flush(std::cerr);
  flush(std::wcout);
  flush(std::wclog);
  flush(std::wcerr);
  os::flush_streams();
}

[[gnu::hot]] void end_forked(int code) noexcept {
  Children::end_all();
  flush_all();
  leave_print_family();
  os::exit_now(code);
}

[[gnu::hot]] void live_forked(Task& task, const os::AllSignalsBlocked& blocked) noexcept {
  os::discard_streams();
  task.leave_others();
  if constexpr (os::kThreadSanitizer) stop_exit_here();
  blocked.restore();
  run_target(task, end_forked);
}

void live_spawned(Task& task) noexcept {
  run_target(task, end_spawned);
}

}  // namespace multiproc::detail
