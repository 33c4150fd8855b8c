// SPDX-License-Identifier: MIT
//
// multiproc/process/print.hpp: text that is shown at once, and whole, however many processes print.
//
//     multiproc::println("worker {} has {} of {}", name, done, all);      // fmt's format strings, checked by fmt
//
// Whole       One call's text comes out in one piece: 20 bytes or 100 MiB, into a pipe, a socket, a terminal or a file,
//             beside any number of threads and processes of one program that print to the same place: the forked and
//             the spawned, under whatever descriptor. (Plain printf and std::cout of others can't be kept out.)
// Shown       Nothing stays in a buffer: the bytes are with the kernel when the call returns.
// Order       After everything that this process has written to the same stream through stdio or iostreams, wherever
//             that is still buffered: std::cout too, whether or not it is synchronised with stdio. What was buffered
//             comes out together with the text, in one piece.
// Death       A process that is killed in the middle of a print holds nobody up. It may leave a part of its text; the
//             next text that is printed there by one of its relatives begins on a new line.
// Trouble     A reader that has gone is EPIPE and never SIGPIPE. (Within ten microseconds of another print, a program
//             that called main_guard() and then gives SIGPIPE a disposition of its own has that for the print too.)
//             That, a full disk, a closed stdout: SystemError, with how many bytes went out. What stdio or iostreams
//             held and did not go out is put back there for the next print or flush, and the error's text counts it.
//             Lost, and counted too, is only what nobody will read (EPIPE) and what a stream without a descriptor held,
//             which glibc drops.
// Cost        A short line costs one system call; without main_guard(), and before Linux 6.18, three: the signal must
//             be held back. The first print or fork keeps one more descriptor open, close-on-exec.
// Stands on   os/quiet_write.hpp, os/output.hpp, os/futex.hpp, os/memory.hpp.
//
// Any thread may call, also several at once, also before main() and after it; a signal handler may not, and a thread in
// it must not be cancelled. A call blocks while its target takes no more, also where the descriptor is non-blocking. It
// counts as a use of the stream: an std::cout that is not synchronised with stdio belongs to one thread, and so does
// print() then.
#pragma once

#include <cstdio>

#include <fmt/core.h>

namespace multiproc {

namespace detail {
void vprint(std::FILE* stream, fmt::string_view format, fmt::format_args args, bool newline);
}

/// Prints to stdout; `format` as in fmt::print.
///
/// Throws
///   SystemError   The text did not go out whole. code() is the errno; what() says where to, why and how much.
///   whatever      a formatter throws: then nothing was printed.
template <class... T>
void print(fmt::format_string<T...> format, T&&... args) {
  detail::vprint(stdout, format, fmt::make_format_args(args...), false);
}

/// The same, with a newline behind it.
template <class... T>
void println(fmt::format_string<T...> format, T&&... args) {
  detail::vprint(stdout, format, fmt::make_format_args(args...), true);
}

/// Prints to `stream`: stderr, a file, a pipe, or one without a descriptor (fmemopen, fopencookie), which is then shown
/// by fwrite and fflush.
template <class... T>
void print(std::FILE* stream, fmt::format_string<T...> format, T&&... args) {
  detail::vprint(stream, format, fmt::make_format_args(args...), false);
}

/// The same, with a newline behind it.
template <class... T>
void println(std::FILE* stream, fmt::format_string<T...> format, T&&... args) {
  detail::vprint(stream, format, fmt::make_format_args(args...), true);
}

}  // namespace multiproc
