// SPDX-License-Identifier: MIT

#include <multiproc/process/print.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iostream>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include <multiproc/error.hpp>
#include <multiproc/os/output.hpp>
#include <multiproc/os/quiet_write.hpp>

#include "os/stream_lock.hpp"
#include "process/print_exact.hpp"
#include "process/print_format.hpp"
#include "process/print_pending.hpp"
#include "process/print_short.hpp"
#include "process/print_turn.hpp"

namespace multiproc::detail {

namespace {

// What one call brings out, in its order: a newline after a torn text, what was pending, and the text.
enum Part { kNewline, kOfStdio, kOfStream, kOfLog, kLine, kParts };

struct Text {
  std::array<std::string_view, kParts> parts{};
  std::size_t size = 0;  // without the newline

  void set(Part part, std::string_view text) noexcept {
    parts[part] = text;
    size += text.size();
  }

  /// What of `part` is behind the first `count` bytes.
  std::string_view rest_of(Part part, std::size_t count) const noexcept {
    for (const std::string_view before : std::span(parts).first(part)) count -= std::min(count, before.size());
    return parts[part].substr(std::min(count, parts[part].size()));
  }

  /// Whether the first `count` bytes end within a line.
  bool is_torn_at(std::size_t count) const noexcept {
    if (count == 0) return false;
    for (const std::string_view part : parts) {
      if (count <= part.size()) return part[count - 1] != '\n';
      count -= part.size();
    }
    return false;
  }
};

[[noreturn]] void fail(int error, PrintStream stream, int fd, std::size_t written, std::size_t size, const Held& held) {
  std::string where = "a stream without a descriptor";
  if (stream == kStdout) where = "standard output";
  if (stream == kStderr) where = "standard error";
  if (stream == kOther && fd >= 0) where = fmt::format("descriptor {}", fd);
  const char* remedy = "";
  switch (error) {
    case EPIPE: remedy = ". Its reader has gone: stop printing, or print elsewhere"; break;
    case ENOSPC:
    case EDQUOT: remedy = ". Make room there and print again what is missing"; break;
    case EFBIG: remedy = ". The file is at its largest size (ulimit -f): continue in another"; break;
    case EBADF: remedy = ". It is closed, or not open for writing: open it, if only on /dev/null"; break;
    default: break;
  }
  std::string earlier;
  if (held.kept != 0) earlier += fmt::format("; {} that were held by the stream stay there", held.kept);
  if (held.lost != 0) earlier += fmt::format("; {} that were held by the stream are lost", held.lost);
  throw SystemError(error, fmt::format("print: {}: {} ({} of {} bytes went out{}){}", where,
                                       std::generic_category().message(error), written, size, earlier, remedy));
}

// One print to one stream, which is locked.
struct Print {
  std::FILE* stream;
  int fd;
  PrintStream name;
  bool flushes;  // only fflush brings out what the stream holds
  Text text{};
  std::size_t written = 0;
  Held held{};

  // One write that the kernel keeps whole. Nothing: not now.
  std::optional<os::Result<>> write_short() {
    if (name == kOther || flushes || text.size > os::kWholeWrite) return {};
    const ShortPrint print(name);
    if (!print) return {};
    return os::write_quietly(fd, text.parts, written);
  }

  // Alone at the target, among threads and processes.
  os::Result<> write_exactly() {
    const auto target = os::target_of(fd);
    if (!target) return target.failure();
    const PrintTurn turn(target.value());
    os::RecordLock lock;
    if (target.value().needs_turns) (void)lock.take(fd);  // refused: then our own threads are all we keep apart
    ExactPrint print(name, target.value(), flushes || text.size > os::kWholeWrite);
    if (flushes) {
      if (const auto flushed = flush_quietly(stream, held); !flushed) return flushed;
    }
    if (print.after_torn_text()) text.parts[kNewline] = "\n";
    auto result = os::write_quietly(fd, text.parts, written);
    if (!result && is_left_torn(result)) print.leave_torn();
    return result;
  }

  // To a reader that has gone nobody will print any more.
  bool is_left_torn(const os::Result<>& result) const noexcept {
    const bool was_torn_before = written == 0 && !text.parts[kNewline].empty();
    return result.error() != EPIPE && (was_torn_before || text.is_torn_at(written));
  }

  void run() {
    if (const auto result = write_short()) {
      end_short(*result);
    } else {
      end(write_exactly());
    }
  }

  void end_short(const os::Result<>& result) {
    if (!result && is_left_torn(result)) {
      if (const auto target = os::target_of(fd)) note_torn_text(target.value());
    }
    end(result);
  }

  void end(const os::Result<>& result) {
    forget_position(stream);
    if (result) return;
    settle_held(result.error());
    const std::size_t newline = text.parts[kNewline].size();
    fail(result.error(), name, fd, written > newline ? written - newline : 0, text.size, held);
  }

  // Not after EPIPE: nobody will read it, and exit(), which flushes what is held, would die of SIGPIPE.
  void settle_held(int error) noexcept {
    const std::string_view of_stdio = text.rest_of(kOfStdio, written);
    const std::string_view of_stream = text.rest_of(kOfStream, written);
    const std::string_view of_log = text.rest_of(kOfLog, written);
    const std::size_t all = of_stdio.size() + of_stream.size() + of_log.size();
    if (error == EPIPE) {
      held.lost += all;
      return;
    }
    held.kept += all;
    put_back(stream, of_stdio);
    put_back(stream == stdout ? std::cout : std::cerr, of_stream);
    put_back(std::clog, of_log);
  }
};

PrintStream name_of(std::FILE* stream, int fd) noexcept {
  if (stream == stdout && fd == 1) return kStdout;
  if (stream == stderr && fd == 2) return kStderr;
  return kOther;
}

// Everything but a short line with nothing before it. The stream is locked.
void show_in_parts(std::FILE* stream, int fd, bool takes_iostreams, std::string_view line) {
  Print print{.stream = stream, .fd = fd, .name = name_of(stream, fd), .flushes = false};
  if (!holds_nothing(stream)) {
    print.flushes = needs_flush(stream);
    print.text.set(kOfStdio, take_pending(stream));
  }
  if (takes_iostreams) {
    print.text.set(kOfStream, take_pending(stream == stdout ? std::cout : std::cerr, fd));
    if (stream == stderr) print.text.set(kOfLog, take_pending(std::clog, fd));
  }
  print.text.set(kLine, line);
  print.run();
}

// What nearly every print is. Only here do nanoseconds count: formatting and all this shall cost little beside the
// write.
bool show_short_line(std::FILE* stream, int fd, std::string_view line) {
  const PrintStream name = name_of(stream, fd);
  if (name == kOther || line.size() > os::kWholeWrite || !holds_nothing(stream)) return false;
  std::size_t written = 0;
  os::Result<> result;
  {
    const ShortPrint print(name);
    if (!print) return false;
    result = os::write_quietly(fd, line, written);
  }
  if (result) {
    forget_position(stream);
    return true;
  }
  Print print{.stream = stream, .fd = fd, .name = name, .flushes = false};
  print.text.set(kLine, line);
  print.written = written;
  print.end_short(result);
  return true;
}

void show(std::FILE* stream, std::string_view line) {
  const bool takes_iostreams = has_own_buffers(stream);
  if (takes_iostreams) flush_foreign_buffers(stream);
  const os::StreamLock lock(stream);
  const int fd = ::fileno(stream);  // -1: it has none
  if (fd < 0) {
    Held held;
    const auto result = write_by_stdio(stream, line, held);
    if (!result) fail(result.error(), kOther, fd, 0, line.size(), held);
    return;
  }
  if (!takes_iostreams && show_short_line(stream, fd, line)) return;
  show_in_parts(stream, fd, takes_iostreams, line);
}

}  // namespace

void vprint(std::FILE* stream, fmt::string_view format, fmt::format_args args, bool newline) {
  fmt::memory_buffer line;
  format_line(line, format, args);
  if (newline) line.push_back('\n');
  show(stream, {line.data(), line.size()});
}

}  // namespace multiproc::detail
