// SPDX-License-Identifier: MIT

#include <multiproc/process/print.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/os/memory.hpp>
#include <multiproc/os/quiet_write.hpp>
#include <multiproc/process/process.hpp>

#include "os/fault.hpp"
#include "process/print_family.hpp"
#include "process/print_page.hpp"
#include "support/in_child.hpp"
#include "support/watchdog.hpp"

namespace {

using namespace std::chrono_literals;
using multiproc::print;
using multiproc::println;
using multiproc::SystemError;

constexpr std::size_t kKiB = 1024;
constexpr std::size_t kMiB = 1024 * kKiB;

struct Pipe {
  int read_end = -1;
  int write_end = -1;

  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    read_end = ends[0];
    write_end = ends[1];
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;
  ~Pipe() {
    close_end(read_end);
    close_end(write_end);
  }
  static void close_end(int& end) {
    if (end >= 0) ::close(std::exchange(end, -1));
  }
  int held() const {
    int count = 0;
    ::ioctl(read_end, FIONREAD, &count);
    return count;
  }
  std::string read_some() const {
    std::string text(256 * kKiB, '\0');
    ssize_t got = -1;
    do {
      got = ::read(read_end, text.data(), text.size());
    } while (got < 0 && errno == EINTR);
    text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    return text;
  }
  std::string read_exactly(std::size_t size) const {
    std::string text;
    while (text.size() < size) {
      std::string more = read_some();
      if (more.empty()) break;
      text += more;
    }
    return text;
  }
};

template <class Body>
pid_t fork_to(Body body) {
  const pid_t child = ::fork();
  if (child != 0) return child;
  int code = 0;
  try {
    body();
  } catch (const std::exception& error) {
    const std::string text = std::string(error.what()) + "\n";
    code = ::write(2, text.data(), text.size()) < 0 ? 2 : 1;
  }
  ::_exit(code);
}

int wait_for(pid_t child) {
  int status = -1;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void wait_for_all(const std::vector<pid_t>& children) {
  for (const pid_t child : children) {
    if (wait_for(child) != 0) throw std::runtime_error("a child failed");
  }
}

// "a12:3:5:aaaaa." is line 3 of printer 12 of kind a, with 5 letters of filling.
std::string line_of(char kind, int printer, int number, std::size_t filling) {
  return fmt::format("{}{}:{}:{}:{}.", kind, printer, number, filling, std::string(filling, kind));
}

struct Line {
  char kind = '?';
  int printer = 0;
  int number = 0;
  auto operator<=>(const Line&) const = default;
};

std::optional<Line> parse(const std::string& text) {
  Line line;
  std::size_t filling = 0;
  if (std::sscanf(text.c_str(), "%c%d:%d:%zu:", &line.kind, &line.printer, &line.number, &filling) != 4) return {};
  if (text != line_of(line.kind, line.printer, line.number, filling)) return {};
  return line;
}

// What came out whole, each once; everything else in `torn`.
struct Output {
  std::set<Line> whole{};
  std::vector<std::string> torn{};
  std::size_t twice = 0;

  explicit Output(const std::string& text) {
    std::istringstream in{text};
    for (std::string line; std::getline(in, line);) {
      if (const auto parsed = parse(line)) {
        twice += whole.insert(*parsed).second ? 0U : 1U;
      } else if (!line.empty()) {  // a newline may follow a dead printer's last complete line
        torn.push_back(line.size() > 200 ? line.substr(0, 100) + "..." + line.substr(line.size() - 100) : line);
      }
    }
  }
  std::size_t count_of(char kind) const {
    return static_cast<std::size_t>(
        std::count_if(whole.begin(), whole.end(), [&](const Line& line) { return line.kind == kind; }));
  }
};

void expect_all_whole(const std::string& text, std::size_t lines) {
  const Output output{text};
  EXPECT_EQ(output.whole.size(), lines);
  EXPECT_EQ(output.twice, 0U);
  EXPECT_TRUE(output.torn.empty()) << output.torn.size() << " torn, the first: " << output.torn.front();
}

std::string error_of(auto&& prints, int expected) {
  try {
    prints();
  } catch (const SystemError& error) {
    return error.code().value() == expected ? error.what()
                                            : fmt::format("errno {}: {}", error.code().value(), error.what());
  }
  return "no exception";
}

std::string text_of_file(const std::string& path) {
  std::string text;
  std::FILE* file = std::fopen(path.c_str(), "r");
  std::array<char, 4096> buffer;
  for (std::size_t got = 0; (got = std::fread(buffer.data(), 1, buffer.size(), file)) > 0;) {
    text.append(buffer.data(), got);
  }
  std::fclose(file);
  return text;
}

struct TemporaryFile {
  std::string path = "/tmp/multiproc-print-XXXXXX";
  int fd = ::mkstemp(path.data());

  TemporaryFile() = default;
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() {
    ::close(fd);
    ::unlink(path.c_str());
  }
};

// --- shown at once, in order -----------------------------------------------------------------------------------------

TEST(PrintTest, ALineIsThereWhenTheCallReturns) {
  const auto result = support::in_child([] {
    const Pipe pipe;
    ::dup2(pipe.write_end, 1);

    println("{} and {}", 1, "two");

    EXPECT_EQ(pipe.held(), 10);
    EXPECT_EQ(pipe.read_some(), "1 and two\n");
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, PrintAddsNothingAndAnEmptyTextIsNoError) {
  const auto result = support::in_child([] {
    print("");
    print("a{}", 'b');
    println("");
    print(stderr, "{:>4}", 7);
    println(stderr, "!");
  });

  EXPECT_EQ(result.out, "ab\n");
  EXPECT_EQ(result.err, "   7!\n");
}

// What most lines are made of goes a shorter way than the rest.
TEST(PrintTest, ShowsEverythingAsFmtDoes) {
  std::string expected;
  const auto both = [&expected](bool prints, auto format, const auto&... values) {
    if (prints) {
      multiproc::print(fmt::runtime(format), values...);
    } else {
      expected += fmt::format(fmt::runtime(format), values...);
    }
  };
  const auto all = [&both](bool prints) {
    both(prints, "no braces\n");
    both(prints, "{}{}{}{}\n", 1, -2, 3U, -4L);
    both(prints, "{}, {}, {}\n", std::numeric_limits<long long>::min(), std::numeric_limits<std::uint64_t>::max(), 0);
    both(prints, "a {} b {} c", std::string("string"), "literal");
    both(prints, "{}\n", std::string_view("with\0zero", 9));
    both(prints, "{{}} {} {{{}}} }}{{\n", 1, 2);
    both(prints, "{1} {0} {1:>5} {0:x}\n", 10, 11);
    both(prints, "{} {} {} {} {}\n", 'c', true, 1.5, static_cast<short>(-3), static_cast<unsigned char>(200));
    both(prints, "{} {}\n", 1, std::string(3000, 'x'));
    both(prints, std::string(600, 'f') + "{}\n", 7);
    both(prints, "{}{}\n", std::string(499, 'y'), 12345);
    both(prints, "{}\n", "");
    both(prints, "");
  };
  all(false);
  const auto printed = support::in_child([&] { all(true); });

  EXPECT_EQ(printed.status, 0) << printed.err;
  EXPECT_EQ(printed.out, expected);
}

TEST(PrintTest, AFormatThatIsNoneIsRefusedAndPrintsNothing) {
  const auto result = support::in_child([] {
    for (const char* format : {"{", "}", "{} {}", "{}}", "text {"}) {
      EXPECT_THROW(multiproc::print(fmt::runtime(format), 1), fmt::format_error) << format;
    }
  });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "");
}

TEST(PrintTest, ComesAfterWhatPrintfHolds) {
  const auto result = support::in_child([] {
    for (int i = 0; i < 3; ++i) {
      std::printf("printf %d, ", i);
      println("print {}", i);
    }
    std::printf("end\n");
  });

  EXPECT_EQ(result.out, "printf 0, print 0\nprintf 1, print 1\nprintf 2, print 2\nend\n");
}

TEST(PrintTest, ComesAfterWhatASynchronisedCoutHolds) {
  const auto result = support::in_child([] {
    std::cout << "cout, ";
    println("print");
    std::cout << "end\n";
  });

  EXPECT_EQ(result.out, "cout, print\nend\n");
}

TEST(PrintTest, ComesAfterWhatACoutOfItsOwnHolds) {
  const auto result = support::in_child([] {
    println("before");
    std::ios_base::sync_with_stdio(false);
    for (int i = 0; i < 3; ++i) {
      std::cout << "cout " << i << ", ";
      println("print {}", i);
    }
    std::cout << std::string(20 * kKiB, 'x');
    println(".");
    std::wcout << L"wide, ";
    println("print");
    std::cout << "end\n";
  });

  EXPECT_EQ(result.out, "before\ncout 0, print 0\ncout 1, print 1\ncout 2, print 2\n" + std::string(20 * kKiB, 'x') +
                            ".\nwide, print\nend\n");
}

TEST(PrintTest, ComesAfterWhatCerrClogAndStderrHold) {
  const auto result = support::in_child([] {
    std::ios_base::sync_with_stdio(false);
    std::setvbuf(stderr, nullptr, _IOFBF, 4096);
    std::fputs("stderr, ", stderr);
    println(stderr, "print");
    std::cerr << "cerr, ";
    std::clog << "clog, ";
    println(stderr, "print");
  });

  EXPECT_EQ(result.err, "stderr, print\ncerr, clog, print\n");
}

TEST(PrintTest, ComesAfterWhatAWideStreamHolds) {
  const auto result = support::in_child([] {
    // GoogleTest has made this stream a narrow one: only reopening takes that back.
    ASSERT_NE(std::freopen("/proc/self/fd/1", "w", stdout), nullptr);
    ASSERT_GE(std::fputws(L"wide, ", stdout), 0);
    println("print");
    std::fputws(L"wide again\n", stdout);
  });

  EXPECT_EQ(result.out, "wide, print\nwide again\n");
}

TEST(PrintTest, WhatIsHeldLeavesInOneWriteWithTheText) {
  const auto result = support::in_child([] {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);  // a datagram is a write
    ::dup2(ends[0], 1);
    std::setvbuf(stdout, nullptr, _IOFBF, 8192);
    std::ios_base::sync_with_stdio(false);

    std::printf("held by stdio, ");
    std::cout << "held by cout, ";
    println("printed");

    std::array<char, 256> buffer;
    const auto got = ::recv(ends[1], buffer.data(), buffer.size(), MSG_DONTWAIT);
    ASSERT_GT(got, 0);
    EXPECT_EQ(std::string(buffer.data(), static_cast<std::size_t>(got)), "held by stdio, held by cout, printed\n");
    EXPECT_LT(::recv(ends[1], buffer.data(), buffer.size(), MSG_DONTWAIT), 0);
  });

  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST(PrintTest, AStreamOnAFileKeepsItsPosition) {
  const TemporaryFile file;
  std::FILE* stream = ::fdopen(::dup(file.fd), "w+");

  std::fputs("one ", stream);
  EXPECT_EQ(std::ftell(stream), 4);
  println(stream, "two");
  EXPECT_EQ(std::ftell(stream), 8);
  std::fputs("three", stream);
  EXPECT_EQ(std::ftell(stream), 13);
  std::fseek(stream, 0, SEEK_SET);
  std::array<char, 5> word{};
  EXPECT_EQ(std::fread(word.data(), 1, 3, stream), 3U);  // reads ahead to the end
  EXPECT_STREQ(word.data(), "one");
  std::fseek(stream, 3, SEEK_SET);
  print(stream, "-");
  EXPECT_EQ(std::ftell(stream), 4);
  std::fclose(stream);

  EXPECT_EQ(text_of_file(file.path), "one-two\nthree");
}

TEST(PrintTest, AStreamThatRemembersItsPositionLearnsOfThePrint) {
  const TemporaryFile file;
  std::FILE* stream = ::fdopen(::dup(file.fd), "w");

  std::fputs("one ", stream);
  std::fseek(stream, 0, SEEK_END);  // stdio remembers the position from here on
  print(stream, "two ");
  EXPECT_EQ(std::ftell(stream), 8);
  std::fputs("three", stream);
  std::fseek(stream, -5, SEEK_CUR);
  std::fputs("T", stream);
  std::fclose(stream);

  EXPECT_EQ(text_of_file(file.path), "one two Three");
}

TEST(PrintTest, AFormatterThatThrowsPrintsNothing) {
  const auto result = support::in_child([] {
    EXPECT_THROW(println("before {:{}}", 1, -1), fmt::format_error);
    std::printf("after\n");
  });

  EXPECT_EQ(result.out, "after\n");
}

// A program that sends std::cout through print: its buffer prints whenever it is flushed.
struct PrintingBuffer : std::stringbuf {
  int sync() override {
    print("[{}]", str());
    str({});
    return 0;
  }
};

TEST(PrintTest, ABufferOfCoutThatPrintsItselfDoesNotBlock) {
  const auto result = support::in_child([] {
    PrintingBuffer buffer;
    std::streambuf* before = std::cout.rdbuf(&buffer);
    std::cout << "cout";
    println("print");
    std::cout.rdbuf(before);
  });

  EXPECT_EQ(result.out, "[cout]print\n");
}

TEST(PrintTest, StreamsWithoutADescriptorAreWrittenAndFlushed) {
  std::string seen;
  const auto append = [](void* to, const char* bytes, std::size_t size) -> ssize_t {
    static_cast<std::string*>(to)->append(bytes, size);
    return static_cast<ssize_t>(size);
  };
  std::FILE* cookie = ::fopencookie(&seen, "w", {nullptr, append, nullptr, nullptr});
  std::array<char, 16> memory{};
  std::FILE* in_memory = ::fmemopen(memory.data(), memory.size(), "w");

  std::fputs("held, ", cookie);
  println(cookie, "{}", std::string(9000, 'x'));
  print(in_memory, "{}", 42);

  EXPECT_EQ(seen, "held, " + std::string(9000, 'x') + "\n");
  EXPECT_STREQ(memory.data(), "42");
  std::fclose(cookie);
  std::fclose(in_memory);
}

TEST(PrintTest, ARefusingStreamWithoutADescriptorIsAnError) {
  const auto refuse = [](void*, const char*, std::size_t) -> ssize_t {
    errno = ENOSPC;
    return 0;
  };
  std::FILE* cookie = ::fopencookie(nullptr, "w", {nullptr, refuse, nullptr, nullptr});

  EXPECT_EQ(error_of([&] { println(cookie, "text"); }, ENOSPC).find("print: a stream without a descriptor: "), 0U);
  std::fputs("held", cookie);
  EXPECT_NE(error_of([&] { println(cookie, "text"); }, ENOSPC).find("; 4 that were held by the stream are lost)"),
            std::string::npos);

  std::fclose(cookie);
}

// --- whole -----------------------------------------------------------------------------------------------------------

// Short lines with long ones among them, as many as `lengths` has, evenly.
void print_lines(char kind, int printer, int count, const std::vector<std::size_t>& lengths, std::FILE* stream) {
  const int each = std::max(1, count / static_cast<int>(lengths.size() + 1));
  std::size_t next = 0;
  for (int i = 0; i < count; ++i) {
    const bool is_long = i % each == each - 1 && next < lengths.size();
    println(stream, "{}", line_of(kind, printer, i, is_long ? lengths[next++] : static_cast<std::size_t>(i % 70)));
  }
}

std::vector<std::size_t> lengths_for(int printer) {
  if (printer == 0) return {10 * kMiB};
  if (printer < 4) return {100 * kKiB, 5000, kMiB, 4096, 300 * kKiB};
  return {4097, 5000, 9000, 70 * kKiB};
}

TEST(PrintTest, EightProcessesMixShortAndHugeLinesIntoOnePipe) {
  const auto result = support::in_child([] {
    std::vector<pid_t> printers;
    for (int printer = 0; printer < 8; ++printer) {
      printers.push_back(fork_to([&] { print_lines('a', printer, 800, lengths_for(printer), stdout); }));
    }
    wait_for_all(printers);
  });

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 8 * 800);
}

TEST(PrintTest, ProcessesMixLinesIntoOneFile) {
  const TemporaryFile file;
  const auto result = support::in_child([&] {
    ::dup2(file.fd, 1);
    std::vector<pid_t> printers;
    for (int printer = 0; printer < 4; ++printer) {
      printers.push_back(fork_to([&] { print_lines('a', printer, 400, lengths_for(printer), stdout); }));
    }
    wait_for_all(printers);
  });

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(text_of_file(file.path), 4 * 400);
}

TEST(PrintTest, ThreadsAndStreamsOnOneTargetMixLines) {
  const auto result = support::in_child([] {
    ::dup2(1, 2);  // 2>&1
    std::FILE* third = ::fdopen(::dup(1), "w");
    const auto run = [&](int first) {
      std::vector<std::thread> threads;
      const std::array<std::FILE*, 5> streams{stdout, stdout, stderr, third, stderr};
      for (int i = 0; i < 5; ++i) {
        std::FILE* stream = streams[static_cast<std::size_t>(i)];
        threads.emplace_back([=] { print_lines('t', first + i, 200, {100 * kKiB, 5000, 4097, 70 * kKiB}, stream); });
      }
      for (auto& thread : threads) thread.join();
    };
    const pid_t other = fork_to([&] { run(5); });
    run(0);
    wait_for_all({other});
    std::fclose(third);
  });

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 10 * 200);
}

void print_when_spawned(int printer) {
  print_lines('s', printer, 300, {100 * kKiB, 5000, 4097, 70 * kKiB}, stdout);
}

TEST(PrintTest, SpawnedAndForkedProcessesMixLines) {
  const auto result = support::in_child([] {
    std::vector<multiproc::Process> printers;
    for (int printer = 0; printer < 4; ++printer) {
      const auto method = printer < 2 ? multiproc::StartMethod::spawn : multiproc::StartMethod::fork;
      printers.emplace_back(multiproc::ProcessOptions{.start_method = method}, print_when_spawned, printer);
    }
    for (auto& printer : printers) printer.start();
    for (auto& printer : printers) {
      printer.join();
      EXPECT_EQ(printer.exitcode(), 0);
    }
  });

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 4 * 300);
}

TEST(PrintTest, AProcessForkedBeforeMainMixesLinesToo) {
  const auto result = support::run_program(support::program("print_before_main"));

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 3 * 200);
}

TEST(PrintTest, AFamilyHasOnePageFromTheFirst) {
  const auto result = support::in_child([] {
    println("before");
    const int before = multiproc::detail::print_family_fd();
    EXPECT_GE(before, 3);

    const pid_t child = fork_to([&] {
      if (multiproc::detail::print_family_fd() != before) throw std::runtime_error("another page");
    });

    EXPECT_EQ(wait_for(child), 0);
    multiproc::detail::create_print_family();
    EXPECT_EQ(multiproc::detail::print_family_fd(), before);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, AChildForkedDuringTheFirstPrintCanPrint) {
  for (int i = 0; i < 50; ++i) {
    const auto result = support::in_child([] {
      std::thread printer([] { println("from a thread"); });
      const pid_t child = fork_to([] {
        println("from a child");
        ::raise(SIGKILL);  // at an exit ThreadSanitizer would miss the thread that is not here
      });
      printer.join();
      EXPECT_EQ(wait_for(child), -SIGKILL);
    });

    ASSERT_FALSE(result.timed_out);
    EXPECT_EQ(result.status, 0) << result.err;
  }
}

TEST(PrintTest, AnInterruptedWriteGoesOn) {
  const auto result = support::in_child([] {
    struct sigaction handler {};
    handler.sa_handler = [](int) {};
    ::sigaction(SIGALRM, &handler, nullptr);  // no SA_RESTART
    constexpr itimerval kStorm{{0, 200}, {0, 200}};
    ::setitimer(ITIMER_REAL, &kStorm, nullptr);
    print_lines('a', 0, 300, {2 * kMiB, 70 * kKiB, 5000, kMiB}, stdout);
    constexpr itimerval kCalm{};
    ::setitimer(ITIMER_REAL, &kCalm, nullptr);
  });

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 300);
}

TEST(PrintTest, ANonBlockingPipeIsWaitedForAndLosesNothing) {
  const auto result = support::in_child([] {
    ::fcntl(1, F_SETFL, ::fcntl(1, F_GETFL) | O_NONBLOCK);
    print_lines('a', 0, 3000, {2 * kMiB, 70 * kKiB, 5000, kMiB}, stdout);
    for (int i = 3000; i < 4000; ++i) {
      std::fputs(line_of('a', 0, i, 100).c_str(), stdout);  // glibc's own flush would lose what has no room
      println("");
    }
  });

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 4000);
}

// --- death -----------------------------------------------------------------------------------------------------------

// Sees the page that the family shares.
class SharedPage {
 public:
  SharedPage() {
    multiproc::detail::create_print_family();
    auto mapped = multiproc::os::map_shared(multiproc::detail::print_family_fd(), sizeof(multiproc::detail::PrintPage));
    mapping_ = std::move(mapped).or_throw("the print family");
  }
  const multiproc::detail::PrintPage& operator*() const {
    return *reinterpret_cast<const multiproc::detail::PrintPage*>(mapping_.bytes().data());
  }
  const multiproc::detail::PrintPage* operator->() const { return &**this; }

  // Whether a long print of `printer` is on its way.
  bool prints_long(pid_t printer) const {
    using namespace multiproc::detail;
    return std::any_of((*this)->slots.begin(), (*this)->slots.end(), [&](const PrintSlot& slot) {
      const std::uint64_t owner = slot.owner.load();
      return state_of(owner) == kLong && multiproc::os::pid_of(mark_of(owner)) == printer;
    });
  }

  static std::size_t count(const multiproc::detail::PrintBits& bits) {
    std::size_t count = 0;
    for (const auto& word : bits) count += static_cast<std::size_t>(std::popcount(word.load()));
    return count;
  }

 private:
  multiproc::os::Mapping mapping_;
};

// Half of the victims die at any time, the others while they print something long.
void kill_printers_among_others(unsigned seed, std::size_t long_line) {
  const SharedPage page;
  std::vector<pid_t> others;
  for (int printer = 0; printer < 3; ++printer) {
    others.push_back(fork_to([&] { print_lines('s', printer, 1500, {100 * kKiB, 5000, 70 * kKiB, kMiB}, stdout); }));
  }
  std::minstd_rand random{seed};
  for (int victim = 0; victim < 60; ++victim) {
    const pid_t child = fork_to([&] {
      for (int i = 0;; ++i) println("{}", line_of('v', victim, i, i % 3 == 0 ? long_line : 20));
    });
    if (victim % 2 == 0) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 6000));
    } else {
      while (!page.prints_long(child)) std::this_thread::yield();
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 1000));  // it may wait for others first
    }
    ::kill(child, SIGKILL);
    wait_for(child);
  }
  wait_for_all(others);
  println("{}", line_of('s', 9, 0, 5));
}

void expect_no_living_line_torn(const Output& output) {
  EXPECT_EQ(output.count_of('s'), 3U * 1500 + 1);
  EXPECT_EQ(output.twice, 0U);
  for (const std::string& line : output.torn) EXPECT_EQ(line.find('s'), line.npos) << line;
}

TEST(PrintTest, KilledPrintersHoldNobodyUpAndTearNobodysLine) {
  support::time_limit(180s);
  std::size_t torn = 0;
  for (unsigned seed = 1; seed <= 3 || torn == 0; ++seed) {  // none torn would show nothing
    const auto result = support::in_child([&] { kill_printers_among_others(seed, 300 * kKiB); }, {.limit = 60s});

    ASSERT_FALSE(result.timed_out) << "seed " << seed;
    ASSERT_EQ(result.status, 0) << result.err;
    const Output output{result.out};
    expect_no_living_line_torn(output);
    torn += output.torn.size();
  }
}

// A write to a file is rarely caught half-way: what is asked here is that those who live lose nothing.
TEST(PrintTest, KilledPrintersTearNobodysLineInAFile) {
  const TemporaryFile file;
  const auto body = [&] {
    ::dup2(file.fd, 1);
    kill_printers_among_others(4, 4 * kMiB);
  };
  support::time_limit(120s);
  const auto result = support::in_child(body, {.limit = 110s});

  ASSERT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, 0) << result.err;
  expect_no_living_line_torn(Output{text_of_file(file.path)});
}

// A child that is stuck in a print of `size` bytes into `pipe`, whose reader does not read.
pid_t stuck_in(const Pipe& pipe, std::size_t size) {
  const pid_t child = fork_to([&] {
    ::dup2(pipe.write_end, 1);
    println("{}", std::string(size, 'x'));
  });
  const int capacity = ::fcntl(pipe.write_end, F_GETPIPE_SZ);
  while (pipe.held() < capacity - 4095) std::this_thread::yield();
  return child;
}

TEST(PrintTest, TheNextLineAfterADeadPrinterBeginsOnANewLine) {
  const auto result = support::in_child([] {
    const Pipe pipe;
    const pid_t dead = stuck_in(pipe, kMiB);
    ::kill(dead, SIGKILL);
    wait_for(dead);
    const std::string torn = pipe.read_some();
    EXPECT_EQ(torn, std::string(torn.size(), 'x'));
    println("elsewhere");  // buries the dead, and must not take away the newline that is due at the pipe

    ::dup2(pipe.write_end, 1);
    println("first");
    println("second");

    EXPECT_EQ(pipe.read_some(), "\nfirst\nsecond\n");
  });

  EXPECT_EQ(result.status, 0) << result.err << result.out;
  EXPECT_EQ(result.out, "elsewhere\n");
}

TEST(PrintTest, AShortLineOfARelativeBeginsOnANewLineToo) {
  const auto result = support::in_child([] {
    const Pipe pipe;
    const Pipe go;
    const pid_t relative = fork_to([&] {  // has printed there before: has a slot and knows of no torn text
      ::dup2(pipe.write_end, 1);
      println("before");
      (void)go.read_some();
      println("after");
    });
    EXPECT_EQ(pipe.read_exactly(7), "before\n");
    const pid_t dead = stuck_in(pipe, kMiB);
    ::kill(dead, SIGKILL);
    wait_for(dead);
    (void)pipe.read_some();

    EXPECT_EQ(::write(go.write_end, "!", 1), 1);
    EXPECT_EQ(wait_for(relative), 0);

    EXPECT_EQ(pipe.read_some(), "\nafter\n");
  });

  EXPECT_EQ(result.status, 0) << result.err << result.out;
}

TEST(PrintTest, ADeadLongPrintElsewhereDoesNotKeepTheFamilyOnTheSlowPath) {
  const auto result = support::in_child([] {
    const SharedPage page;
    while (SharedPage::count(page->long_prints) != 0) println("elsewhere");  // what another test may have left
    const std::size_t torn_before = SharedPage::count(page->torn);
    const Pipe pipe;
    const pid_t dead = stuck_in(pipe, kMiB);
    EXPECT_EQ(SharedPage::count(page->long_prints), 1U);
    ::kill(dead, SIGKILL);
    wait_for(dead);

    while (SharedPage::count(page->long_prints) != 0) println("elsewhere");

    EXPECT_EQ(SharedPage::count(page->torn), torn_before + 1);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, SlotsOfDeadProcessesAreUsedAgain) {
  support::time_limit(120s);
  const auto body = [] {
    const SharedPage page;
    for (int i = 0; i < 1100; ++i) {
      const pid_t child = fork_to([&] { println("{}", line_of('a', 0, i, 10)); });
      if (wait_for(child) != 0) throw std::runtime_error("a child failed");
    }
    EXPECT_EQ(page->crowded.load(), 0U);
    EXPECT_LE(SharedPage::count(page->used), 130U);
  };
  const auto result = support::in_child(body, {.limit = 110s});

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 1100);
}

TEST(PrintTest, MorePrintersThanSlotsStillPrintWholeLines) {
  const auto result = support::in_child([] {
    const SharedPage page;
    auto& mutable_page = const_cast<multiproc::detail::PrintPage&>(*page);
    const std::uint64_t living = (multiproc::os::own_life_mark().value() << 4) | 1;
    for (auto& slot : mutable_page.slots) {
      slot.busy.store(0);  // earlier tests left dead printers, who would seem alive now
      slot.owner.store(living);
    }
    for (auto& word : mutable_page.used) word.store(~std::uint64_t{0});
    for (auto& word : mutable_page.long_prints) word.store(0);
    for (auto& word : mutable_page.torn) word.store(0);  // of earlier tests: such slots would be free for the taking
    std::vector<pid_t> printers;
    for (int printer = 0; printer < 4; ++printer) {
      printers.push_back(fork_to([&] { print_lines('a', printer, 300, {100 * kKiB, 5000, 70 * kKiB}, stdout); }));
    }
    wait_for_all(printers);
    EXPECT_EQ(page->crowded.load(), 1U);
  });

  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 4 * 300);
}

// A short print is a moment between a look at the page and a write. Here one is held in that moment.
TEST(PrintTest, ALongLineWaitsForAShortOneThatHasAlreadyLookedRound) {
  const auto result = support::in_child([] {
    const SharedPage page;
    auto& slots = const_cast<multiproc::detail::PrintPage&>(*page).slots;
    const Pipe pipe;
    ::dup2(pipe.write_end, 1);
    println("before");
    EXPECT_EQ(pipe.read_some(), "before\n");
    const auto mine = std::find_if(slots.begin(), slots.end(), [](const auto& slot) {
      return multiproc::os::pid_of(slot.owner.load() / 16) == ::getpid() && slot.stream.load() == 0;
    });
    ASSERT_NE(mine, slots.end());
    mine->busy.store(1);

    const pid_t child = fork_to([] { println("{}", std::string(10 * kKiB, 'x')); });
    while (mine->busy.load() == 1 && pipe.held() == 0) std::this_thread::yield();
    EXPECT_EQ(mine->busy.load(), 3U) << "it did not wait";
    EXPECT_EQ(pipe.held(), 0);
    mine->busy.store(0);

    EXPECT_EQ(pipe.read_exactly(10 * kKiB + 1), std::string(10 * kKiB, 'x') + "\n");
    EXPECT_EQ(wait_for(child), 0);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, WithoutSharedMemoryAndLocksOneProcessStillPrintsWholeLines) {
  const auto result = support::run_program(support::program("print_without_shared_memory"));

  EXPECT_EQ(result.status, 0) << result.err;
  std::string expected = "short\n" + std::string(100 * kKiB, 'x') + "\n";
  EXPECT_EQ(result.out.substr(0, expected.size()), expected);
  expect_all_whole(result.out.substr(std::min(expected.size(), result.out.size())), 2 * 50);
}

TEST(PrintTest, AStrangersMemoryIsNoFamily) {
  const auto result = support::in_child([] {
    auto memory = multiproc::os::make_memory("stranger", sizeof(multiproc::detail::PrintPage)).or_throw("memory");
    const int before = multiproc::detail::print_family_fd();
    multiproc::detail::adopt_print_family(std::move(memory));
    EXPECT_EQ(multiproc::detail::print_family_fd(), before);
    println("still here");
  });

  EXPECT_EQ(result.out, "still here\n");
}

// A parent that reads what its children print may print elsewhere while they are stuck.
TEST(PrintTest, AParentThatCapturesAStuckChildCanPrint) {
  const auto result = support::in_child([] {
    const Pipe pipe;
    const pid_t in_long = stuck_in(pipe, kMiB);
    println("{}", line_of('a', 0, 0, 10));
    println("{}", line_of('a', 0, 1, kMiB));

    EXPECT_EQ(pipe.read_exactly(kMiB + 1), std::string(kMiB, 'x') + "\n");
    EXPECT_EQ(wait_for(in_long), 0);

    const Pipe full;
    const int capacity = ::fcntl(full.write_end, F_GETPIPE_SZ);
    const std::string filling(static_cast<std::size_t>(capacity), 'f');
    EXPECT_EQ(::write(full.write_end, filling.data(), filling.size()), capacity);
    const SharedPage page;
    const pid_t in_short = fork_to([&] {
      ::dup2(full.write_end, 1);
      println("short");
    });
    const auto is_busy = [&] {
      return std::any_of(page->slots.begin(), page->slots.end(),
                         [](const auto& slot) { return slot.busy.load() != 0; });
    };
    const auto is_asleep =
        [&] {  // a first print may go the exact way, where nobody is busy: earlier tests left torn text
          std::ifstream wchan("/proc/" + std::to_string(in_short) + "/wchan");
          std::string where;
          return wchan >> where && where.find("pipe_write") != where.npos;
        };
    while (!is_busy() && !is_asleep()) std::this_thread::yield();
    println("{}", line_of('a', 0, 2, 10));
    println("{}", line_of('a', 0, 3, kMiB));

    EXPECT_EQ(full.read_exactly(filling.size() + 6), filling + "short\n");
    EXPECT_EQ(wait_for(in_short), 0);
  });

  ASSERT_FALSE(result.timed_out);
  EXPECT_EQ(result.status, 0) << result.err;
  expect_all_whole(result.out, 4);
}

// --- trouble ---------------------------------------------------------------------------------------------------------

TEST(PrintTest, AReaderThatHasGoneIsAnErrorAndNotTheEnd) {
  const auto result = support::in_child([] {
    Pipe pipe;
    ::dup2(pipe.write_end, 1);
    std::signal(SIGPIPE, SIG_DFL);
    Pipe::close_end(pipe.read_end);

    EXPECT_EQ(error_of([] { println("short"); }, EPIPE),
              "print: standard output: Broken pipe (0 of 6 bytes went out). Its reader has gone: stop printing, or "
              "print elsewhere");
    EXPECT_THROW(println("{}", std::string(kMiB, 'x')), SystemError);
    std::printf("held by stdio");
    EXPECT_EQ(error_of([] { println(""); }, EPIPE).find("print: standard output: Broken pipe (0 of 14 "), 0U);
    std::FILE* other = ::fdopen(::dup(1), "w");
    std::fputs("held by another stream", other);
    EXPECT_THROW(println(other, "short"), SystemError);
    std::fputws(L"held by a wide stream", other);
    EXPECT_EQ(::sigismember(
                  [] {
                    static sigset_t pending;
                    ::sigpending(&pending);
                    return &pending;
                  }(),
                  SIGPIPE),
              0);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, APartOfALongLineIsCounted) {
  const auto result = support::in_child([] {
    Pipe pipe;
    ::dup2(pipe.write_end, 1);
    ::close(std::exchange(pipe.write_end, -1));
    const pid_t reader = fork_to([&] {
      ::close(1);
      (void)pipe.read_exactly(100'000);
    });
    Pipe::close_end(pipe.read_end);

    const std::string text = error_of([] { println("{}", std::string(10 * kMiB, 'x')); }, EPIPE);

    std::size_t written = 0;
    std::size_t size = 0;
    EXPECT_EQ(std::sscanf(text.c_str(), "print: standard output: Broken pipe (%zu of %zu bytes", &written, &size), 2);
    EXPECT_GE(written, 100'000U);
    EXPECT_LT(written, 10 * kMiB);
    EXPECT_EQ(size, 10 * kMiB + 1);
    EXPECT_EQ(wait_for(reader), 0);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, TheDefaultOfSigpipeStaysForEverybodyElse) {
  const auto result = support::in_child([] {
    std::signal(SIGPIPE, SIG_DFL);
    Pipe pipe;
    ::dup2(pipe.write_end, 1);
    println("fine");
    Pipe::close_end(pipe.read_end);
    EXPECT_THROW(println("broken"), SystemError);

    (void)!::write(1, "x", 1);
  });

  EXPECT_EQ(result.status, -SIGPIPE);
}

TEST(PrintTest, AProgramThatChangesSigpipeBetweenTwoPrintsIsNotKilled) {
  const auto result = support::in_child([] {
    Pipe pipe;
    ::dup2(pipe.write_end, 1);
    println("fine");
    Pipe::close_end(pipe.read_end);
    for (int i = 0; i < 200; ++i) {
      std::signal(SIGPIPE, SIG_IGN);
      EXPECT_THROW(println("broken"), SystemError);
      std::signal(SIGPIPE, SIG_DFL);
      EXPECT_THROW(println("broken"), SystemError);
    }
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

// What lets a print pass may not go before the last print does.
TEST(PrintTest, AReaderThatHasGoneIsNoEndWhileTheProgramEnds) {
  for (int round = 0; round < 60; ++round) {
    const auto result = support::in_child([] {
      Pipe pipe;
      ::dup2(pipe.write_end, 1);
      std::signal(SIGPIPE, SIG_DFL);
      multiproc::os::exempt_from_sigpipe();  // as main_guard() does
      Pipe::close_end(pipe.read_end);
      std::atomic<bool> prints{false};
      std::thread([&prints] {
        for (;;) {
          try {
            println("broken");
          } catch (const SystemError&) {
          }
          prints = true;
        }
      }).detach();
      while (!prints) std::this_thread::yield();
      std::exit(0);
    });
    ASSERT_EQ(result.status, 0) << "round " << round << ": " << result.err;
  }
}

TEST(PrintTest, WhatTheProgramDoesWithSigpipeIsLeftAlone) {
  const auto result = support::in_child([] {
    std::signal(SIGPIPE, SIG_DFL);

    println("short");
    println("{}", std::string(kMiB, 'x'));

    struct sigaction now {};
    ::sigaction(SIGPIPE, nullptr, &now);
    EXPECT_EQ(now.sa_handler, SIG_DFL);
    ::raise(SIGPIPE);
  });

  EXPECT_EQ(result.status, -SIGPIPE);
}

volatile std::sig_atomic_t broken_pipes = 0;

TEST(PrintTest, AProgramsOwnHandlerOfSigpipeDoesNotHearOfUs) {
  const auto result = support::in_child([] {
    std::signal(SIGPIPE, [](int) { broken_pipes = broken_pipes + 1; });
    Pipe pipe;
    ::dup2(pipe.write_end, 1);
    println("fine");
    Pipe::close_end(pipe.read_end);

    EXPECT_THROW(println("broken"), SystemError);
    EXPECT_THROW(println("{}", std::string(kMiB, 'x')), SystemError);
    EXPECT_EQ(broken_pipes, 0);
    (void)!::write(1, "x", 1);
    EXPECT_EQ(broken_pipes, 1);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, AThreadThatBlocksSigpipeFindsNoneLater) {
  const auto result = support::in_child([] {
    std::signal(SIGPIPE, SIG_DFL);
    sigset_t only;
    ::sigemptyset(&only);
    ::sigaddset(&only, SIGPIPE);
    ::sigprocmask(SIG_BLOCK, &only, nullptr);
    Pipe pipe;
    ::dup2(pipe.write_end, 1);
    println("fine");
    Pipe::close_end(pipe.read_end);

    EXPECT_THROW(println("broken"), SystemError);
    EXPECT_THROW(println("{}", std::string(kMiB, 'x')), SystemError);
    ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, AFullDiskIsAnError) {
  const auto result = support::in_child([] {
    const int full = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
    ASSERT_GE(full, 0);
    ::dup2(full, 1);

    EXPECT_EQ(
        error_of([] { println("short"); }, ENOSPC),
        "print: standard output: No space left on device (0 of 6 bytes went out). Make room there and print again "
        "what is missing");
    EXPECT_THROW(println("{}", std::string(kMiB, 'x')), SystemError);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, WhatStdioHeldIsThereForTheNextPrintAfterAFailure) {
  for (const std::size_t size : {std::size_t{10}, 20 * kKiB}) {
    const TemporaryFile file;
    const auto result = support::in_child([&] {
      ::dup2(::open("/dev/full", O_WRONLY | O_CLOEXEC), 1);
      std::printf("held by stdio\n");

      EXPECT_EQ(
          error_of([&] { println("{}", std::string(size, 'x')); }, ENOSPC)
              .find(fmt::format("print: standard output: No space left on device (0 of {} bytes went out; 14 that "
                                "were held by the stream stay there)",
                                size + 15)),
          0U);

      ::dup2(file.fd, 1);
      std::printf("and more\n");
      println("next");
    });

    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(text_of_file(file.path), "held by stdio\nand more\nnext\n");
  }
}

TEST(PrintTest, WhatACoutOfItsOwnHeldIsThereForTheNextPrintAfterAFailure) {
  const TemporaryFile file;
  const auto result = support::in_child([&] {
    std::ios::sync_with_stdio(false);
    ::dup2(::open("/dev/full", O_WRONLY | O_CLOEXEC), 1);
    std::printf("by stdio\n");
    std::cout << "by cout\n";

    EXPECT_NE(error_of([] { println("lost"); }, ENOSPC).find("17 that were held by the stream stay there"),
              std::string::npos);

    ::dup2(file.fd, 1);
    std::cout << "and more\n";
    println("next");
  });

  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(text_of_file(file.path), "by stdio\nby cout\nand more\nnext\n");
}

TEST(PrintTest, OfWhatStdioHeldOnlyTheRestIsPutBack) {
  const TemporaryFile file;
  const auto result = support::in_child([&] {
    ::dup2(file.fd, 1);
    std::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{};
    ::getrlimit(RLIMIT_FSIZE, &limit);
    const rlim_t before = std::exchange(limit.rlim_cur, 7);
    ::setrlimit(RLIMIT_FSIZE, &limit);
    std::printf("line 1\nline 2\n");

    EXPECT_EQ(
        error_of([&] { println("lost"); }, EFBIG)
            .find("print: standard output: File too large (7 of 19 bytes went out; 7 that were held by the stream "
                  "stay there)"),
        0U);

    limit.rlim_cur = before;
    ::setrlimit(RLIMIT_FSIZE, &limit);
    println("next");
  });

  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(text_of_file(file.path), "line 1\nline 2\nnext\n");
}

TEST(PrintTest, OfAWideStreamTooWhatDidNotGoOutIsCounted) {
  std::FILE* wide = std::fopen("/dev/full", "w");
  std::fputws(L"held", wide);

  EXPECT_NE(error_of([&] { println(wide, ""); }, ENOSPC).find("; 4 that were held by the stream stay there)"),
            std::string::npos);

  std::fclose(wide);
}

TEST(PrintTest, WhatABrokenPipeLosesIsCounted) {
  const auto result = support::in_child([] {
    Pipe pipe;
    ::dup2(pipe.write_end, 1);
    Pipe::close_end(pipe.read_end);
    std::printf("held");
    EXPECT_NE(error_of([] { println(""); }, EPIPE).find("; 4 that were held by the stream are lost)"),
              std::string::npos);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

TEST(PrintTest, ALineThatFitsInPartIsCountedAndTheNextOneBeginsAnew) {
  for (const std::size_t size : {std::size_t{2000}, 20 * kKiB}) {
    const TemporaryFile file;
    const auto result = support::in_child([&] {
      ::dup2(file.fd, 1);
      std::signal(SIGXFSZ, SIG_IGN);
      rlimit limit{};
      ::getrlimit(RLIMIT_FSIZE, &limit);
      const rlim_t before = std::exchange(limit.rlim_cur, 1000);
      ::setrlimit(RLIMIT_FSIZE, &limit);

      EXPECT_EQ(error_of([&] { println("{}", std::string(size, 'x')); }, EFBIG)
                    .find(fmt::format("print: standard output: File too large (1000 of {} bytes", size + 1)),
                0U);

      limit.rlim_cur = before;
      ::setrlimit(RLIMIT_FSIZE, &limit);
      println("next");
      println("and next");
    });

    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(text_of_file(file.path), std::string(1000, 'x') + "\nnext\nand next\n");
  }
}

TEST(PrintTest, AClosedStdoutIsAnError) {
  const auto result = support::in_child([] {
    ::close(1);
    EXPECT_EQ(error_of([] { println("short"); }, EBADF),
              "print: standard output: Bad file descriptor (0 of 6 bytes went out). It is closed, or not open for "
              "writing: open it, if only on /dev/null");
    EXPECT_THROW(println("{}", std::string(kMiB, 'x')), SystemError);
    ::close(2);
    EXPECT_EQ(error_of([] { println(stderr, "short"); }, EBADF).find("print: standard error: "), 0U);
  });

  EXPECT_EQ(result.status, 0) << result.err;
}

}  // namespace
