// SPDX-License-Identifier: MIT

#include <multiproc/process/print.hpp>

#include <array>
#include <cerrno>
#include <iostream>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include <multiproc/error.hpp>
#include <multiproc/os/output.hpp>

#include "process/print_family.hpp"
#include "process/print_pending.hpp"

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
  bool is_line_only() const noexcept { return size == parts[kLine].size(); }

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

[[noreturn]] void fail(int error, PrintStream stream, int fd, std::size_t written, std::size_t size) {
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
  throw SystemError(error, fmt::format("print: {}: {} ({} of {} bytes went out){}", where,
                                       std::generic_category().message(error), written, size, remedy));
}

// Alone at the target, among threads and processes.
os::Result<> write_exactly(std::FILE* stream, PrintStream name, int fd, Text& text, std::size_t& written) {
  const auto target = os::target_of(fd);
  if (!target) return target.failure();
  const TargetTurn turn(target.value());
  os::RecordLock lock;
  if (target.value().needs_turns) (void)lock.take(fd);  // refused: then this process's threads are all we keep apart
  const bool flushes = needs_flush(stream);
  ExactPrint print(name, target.value(), flushes || text.size > os::kWholeWrite);
  if (flushes) {
    if (const auto flushed = flush_quietly(stream); !flushed) return flushed;
  }
  if (print.after_torn_text()) text.parts[kNewline] = "\n";
  auto result = os::write_quietly(fd, text.parts, written);
  // To a reader that has gone nobody will print any more.
  const bool is_left_torn = text.is_torn_at(written) || (print.after_torn_text() && written == 0);
  if (!result && result.error() != EPIPE && is_left_torn) print.leave_torn();
  return result;
}

os::Result<> write_text(std::FILE* stream, PrintStream name, int fd, Text& text, std::size_t& written) {
  if (name == kOther || text.size > os::kWholeWrite || needs_flush(stream)) {
    return write_exactly(stream, name, fd, text, written);
  }
  std::optional<os::Result<>> result;
  if (const ShortPrint print(name); print) {
    result = text.is_line_only() ? os::write_line(fd, text.parts[kLine], written)
                                 : os::write_quietly(fd, text.parts, written);
  }
  if (!result) return write_exactly(stream, name, fd, text, written);
  if (!*result && result->error() != EPIPE && text.is_torn_at(written)) {
    if (const auto target = os::target_of(fd)) note_torn_text(target.value());
  }
  return *result;
}

PrintStream name_of(std::FILE* stream, int fd) noexcept {
  if (stream == stdout && fd == 1) return kStdout;
  if (stream == stderr && fd == 2) return kStderr;
  return kOther;
}

// Everything that is not a short line with nothing before it. The stream is locked.
void show_any(std::FILE* stream, int fd, bool takes_iostreams, std::string_view line) {
  const PrintStream name = name_of(stream, fd);
  if (fd < 0) {
    const auto result = write_by_stdio(stream, line);
    if (!result) fail(result.error(), kOther, fd, 0, line.size());
    return;
  }
  Text text;
  text.set(kOfStdio, take_pending(stream));
  if (takes_iostreams) {
    text.set(kOfStream, take_pending(stream == stdout ? std::cout : std::cerr, fd));
    if (stream == stderr) text.set(kOfLog, take_pending(std::clog, fd));
  }
  text.set(kLine, line);
  std::size_t written = 0;
  const auto result = write_text(stream, name, fd, text, written);
  forget_position(stream);
  if (result) return;
  const std::size_t newline = text.parts[kNewline].size();
  fail(result.error(), name, fd, written > newline ? written - newline : 0, text.size);
}

void show(std::FILE* stream, std::string_view line) {
  const bool has_iostreams = has_own_buffers(stream);
  if (has_iostreams) flush_foreign_buffers(stream);
  const StreamLock lock(stream);
  const int fd = descriptor_of(stream);
  const PrintStream name = name_of(stream, fd);
  if (name != kOther && !has_iostreams && line.size() <= os::kWholeWrite && holds_nothing(stream)) {
    std::size_t written = 0;
    if (const ShortPrint print(name); print && os::write_line(fd, line, written)) {
      forget_position(stream);
      return;
    }
    if (written != 0) return;
  }
  show_any(stream, fd, has_iostreams, line);
}

}  // namespace

void vprint(std::FILE* stream, fmt::string_view format, fmt::format_args args, bool newline) {
  fmt::memory_buffer line;
  fmt::vformat_to(fmt::appender(line), format, args);
  if (newline) line.push_back('\n');
  show(stream, {line.data(), line.size()});
}

}  // namespace multiproc::detail
