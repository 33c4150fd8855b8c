// SPDX-License-Identifier: MIT

#include "process/print_pending.hpp"

#include <stdio_ext.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <cwchar>
#include <iostream>
#include <limits>
#include <streambuf>
#include <typeinfo>

#if __has_include(<ext/stdio_filebuf.h>)
#include <ext/stdio_filebuf.h>
#include <ext/stdio_sync_filebuf.h>
#define MULTIPROC_GNU_STREAMBUFS 1
#endif

#include <multiproc/os/quiet_write.hpp>

namespace multiproc::detail {

namespace {

// The protected ends of a put area, by the names that a derived class has for them.
template <class Char>
struct PutArea : std::basic_streambuf<Char> {
  static Char* begin(const std::basic_streambuf<Char>& buffer) { return (buffer.*&PutArea::pbase)(); }
  static Char* end(const std::basic_streambuf<Char>& buffer) { return (buffer.*&PutArea::pptr)(); }
  static void move_end(std::basic_streambuf<Char>& buffer, int by) { (buffer.*&PutArea::pbump)(by); }
};

// Whose buffer it is. kStdio: it has none of its own. kPlain: libstdc++'s, on a descriptor. kForeign: anybody's.
enum class Kind { kStdio, kPlain, kForeign };

template <class Char>
Kind kind_of(const std::basic_streambuf<Char>& buffer) noexcept {
#ifdef MULTIPROC_GNU_STREAMBUFS
  if (typeid(buffer) == typeid(__gnu_cxx::stdio_sync_filebuf<Char>)) return Kind::kStdio;
  if (typeid(buffer) == typeid(__gnu_cxx::stdio_filebuf<Char>)) return Kind::kPlain;
#endif
  return Kind::kForeign;
}

thread_local bool flushing_foreign = false;  // a foreign buffer that prints is not flushed for that again

template <class Char>
void flush_if_foreign(std::basic_ostream<Char>& stream) {
  std::basic_streambuf<Char>* buffer = stream.rdbuf();
  if (buffer == nullptr) return;
  switch (kind_of(*buffer)) {
    case Kind::kStdio: return;
    case Kind::kPlain:
      if (sizeof(Char) == 1 || PutArea<Char>::begin(*buffer) == PutArea<Char>::end(*buffer)) return;
      break;
    case Kind::kForeign: break;
  }
  if (flushing_foreign) return;
  struct Flushing {
    Flushing() { flushing_foreign = true; }
    ~Flushing() {
      held.take_away();  // also when flush() throws
      flushing_foreign = false;
    }
    const os::BrokenPipeSignalHeld held;
  } const flushing;
  stream.flush();
}

// std::cout and its kin exist for who prints before main(), too: 101 is the first priority open to programs, so that
// this stands before their constructors. Not at the first print: a process forked meanwhile would find it half done.
[[gnu::init_priority(101)]] const std::ios_base::Init iostreams;

Held held_since(std::FILE* stream, std::size_t before) noexcept {
  const std::size_t kept = std::min(before, ::__fpending(stream));
  return {kept, before - kept};
}

}  // namespace

bool find_own_buffers(std::FILE* stream) noexcept {
  const auto has_own = [](const auto& iostream) noexcept {
    const auto* buffer = iostream.rdbuf();
    return buffer != nullptr && kind_of(*buffer) != Kind::kStdio;
  };
  if (stream == stderr) return has_own(std::cerr) || has_own(std::clog) || has_own(std::wcerr) || has_own(std::wclog);
  if (stream != stdout) return false;
  if (has_own(std::cout) || has_own(std::wcout)) return true;
  bare_wcout.store(std::wcout.rdbuf(), std::memory_order_relaxed);
  bare_cout.store(std::cout.rdbuf(), std::memory_order_relaxed);
  return false;
}

void flush_foreign_buffers(std::FILE* stream) {
  if (stream == stdout) {
    flush_if_foreign(std::cout);
    flush_if_foreign(std::wcout);
  } else if (stream == stderr) {
    flush_if_foreign(std::cerr);
    flush_if_foreign(std::clog);
    flush_if_foreign(std::wcerr);
    flush_if_foreign(std::wclog);
  }
}

bool needs_flush(std::FILE* stream) noexcept {
  if (::__fpending(stream) == 0) return ::__freading(stream) != 0;
  return std::fwide(stream, 0) > 0;
}

// The fields are those that <stdio.h> itself shows, and gnulib's fpending and fpurge rely on.
std::string_view take_pending(std::FILE* stream) noexcept {
  if (::__fpending(stream) == 0 || needs_flush(stream)) return {};
  const std::string_view pending{stream->_IO_write_base,
                                 static_cast<std::size_t>(stream->_IO_write_ptr - stream->_IO_write_base)};
  ::__fpurge(stream);  // forgets the bytes but leaves them where they are
  return pending;
}

std::string_view take_pending([[maybe_unused]] std::ostream& stream, [[maybe_unused]] int fd) noexcept {
#ifdef MULTIPROC_GNU_STREAMBUFS
  std::streambuf* buffer = stream.rdbuf();
  if (buffer == nullptr || kind_of(*buffer) != Kind::kPlain) return {};
  const char* begin = PutArea<char>::begin(*buffer);
  const auto size = PutArea<char>::end(*buffer) - begin;
  if (size <= 0 || size > std::numeric_limits<int>::max()) return {};
  if (static_cast<__gnu_cxx::stdio_filebuf<char>*>(buffer)->fd() != fd) return {};  // the program's, for another file
  PutArea<char>::move_end(*buffer, -static_cast<int>(size));
  return {begin, static_cast<std::size_t>(size)};
#else
  return {};
#endif
}

void put_back(std::FILE* stream, std::string_view rest) noexcept {
  if (rest.empty()) return;
  std::memmove(stream->_IO_write_base, rest.data(), rest.size());
  stream->_IO_write_ptr = stream->_IO_write_base + rest.size();
}

void put_back(std::ostream& stream, std::string_view rest) noexcept {
  if (rest.empty()) return;
  std::streambuf& buffer = *stream.rdbuf();
  std::memmove(PutArea<char>::begin(buffer), rest.data(), rest.size());
  PutArea<char>::move_end(buffer, static_cast<int>(rest.size()));
}

os::Result<> flush_quietly(std::FILE* stream, Held& held) noexcept {
  const os::BrokenPipeSignalHeld no_signal;
  const std::size_t before = ::__fpending(stream);
  errno = 0;
  if (std::fflush(stream) == 0) return {};
  const int error = errno;
  no_signal.take_away();
  held = held_since(stream, before);
  return os::Failure{"fflush", error != 0 ? error : EIO};
}

os::Result<> write_by_stdio(std::FILE* stream, std::string_view text, Held& held) noexcept {
  const os::BrokenPipeSignalHeld no_signal;
  const std::size_t before = ::__fpending(stream);
  errno = 0;
  const bool is_taken = text.empty() || std::fwrite(text.data(), 1, text.size(), stream) == text.size();
  int error = errno;
  if (is_taken && std::fflush(stream) == 0) return {};
  if (is_taken) error = errno;
  no_signal.take_away();
  held = held_since(stream, before);
  return os::Failure{"fwrite", error != 0 ? error : EIO};
}

}  // namespace multiproc::detail
