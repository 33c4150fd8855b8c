// SPDX-License-Identifier: MIT
//
// src/process/print_pending.hpp: what this process has written to a stream and stdio or iostreams still hold.
//
// It is taken out of their buffers and goes out with the text that is printed, in one write. Flushing first would be
// simpler and worse: another process's line could get between, glibc throws away what a non-blocking descriptor does
// not take, and SIGPIPE would be raised on the way. Where a buffer can't be taken (wide streams, streams that were
// reading, stream buffers of the program's own) it is flushed.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdio>
#include <iostream>
#include <string_view>

#include <multiproc/os/result.hpp>

namespace multiproc::detail {

/// Whether an iostream that writes to `stream` (stdout, stderr) has a buffer of its own: std::cout after
/// sync_with_stdio(false), or with a stream buffer of the program's.
bool find_own_buffers(std::FILE* stream) noexcept;

// The buffers that were found to have nothing of their own; asking them for their type again costs more than the rest.
inline std::atomic<const void*> bare_cout{nullptr};
inline std::atomic<const void*> bare_wcout{nullptr};

/// The same, quickly.
inline bool has_own_buffers(std::FILE* stream) noexcept {
  const void* known = bare_cout.load(std::memory_order_relaxed);
  if (stream == stdout && known != nullptr && known == std::cout.rdbuf() &&
      bare_wcout.load(std::memory_order_relaxed) == std::wcout.rdbuf()) {
    return false;
  }
  return find_own_buffers(stream);
}

/// Flushes the std::cout family (for stdout) or the std::cerr family (for stderr) where it writes by a stream buffer of
/// the program's own. To be called before any lock is taken: such a buffer may print.
void flush_foreign_buffers(std::FILE* stream);

/// Whether stdio holds nothing for `stream`, nor anything that it read ahead. False may mean "perhaps". By the fields
/// that <stdio.h> shows (gnulib relies on them too): the calls that ask for them cost each print a cache line.
inline bool holds_nothing(std::FILE* stream) noexcept {
  return stream->_IO_write_ptr == stream->_IO_write_base && stream->_IO_read_end == stream->_IO_read_base &&
         stream->_mode <= 0;
}

/// Takes what `stream` holds; empty when `needs_flush(stream)`. The view lasts until somebody writes to the stream.
std::string_view take_pending(std::FILE* stream) noexcept;

/// Takes what a std::cout or std::cerr (std::clog) without stdio holds for `fd`.
std::string_view take_pending(std::ostream& stream, int fd) noexcept;

/// Puts back what did not go out: `rest` is the end, or all, of what was last taken there.
void put_back(std::FILE* stream, std::string_view rest) noexcept;
void put_back(std::ostream& stream, std::string_view rest) noexcept;

/// Whether only fflush can bring out what `stream` holds, or move a position that was read ahead.
bool needs_flush(std::FILE* stream) noexcept;

/// What a stream held before a print that failed, and did not go out.
struct Held {
  std::size_t kept = 0;  // it is back where it was
  std::size_t lost = 0;
};

/// fflush without SIGPIPE. `held` is filled in on failure: glibc throws away what the stream held, or keeps it (where
/// that is wide); in characters then.
os::Result<> flush_quietly(std::FILE* stream, Held& held) noexcept;

/// fwrite and fflush without SIGPIPE, for a stream without a descriptor. `held` as above; not of `text`.
os::Result<> write_by_stdio(std::FILE* stream, std::string_view text, Held& held) noexcept;

/// The descriptor was written to behind the stream's back: a position that it remembers is no longer true.
inline void forget_position(std::FILE* stream) noexcept {
  if (stream->_offset >= 0) stream->_offset = -1;  // "unknown", as after an append
}

}  // namespace multiproc::detail
