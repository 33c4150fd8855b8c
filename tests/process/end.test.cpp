// SPDX-License-Identifier: MIT
//
// How a child may end, what is told of it, and what becomes of its output and its parent's.

#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>
#include <multiproc/process/process.hpp>

#include "process/wire.hpp"
#include "support/every_start_method.hpp"
#include "support/in_child.hpp"
#include "support/sanitized.hpp"

namespace end_test {

struct Custom {
  int number = 0;
};
class NoSuchBook : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
class Speechless : public std::exception {
 public:
  const char* what() const noexcept override { return nullptr; }
};

}  // namespace end_test

namespace {

using multiproc::ExitStatus;
using multiproc::Process;
using multiproc::StartMethod;
using support::in_child;
using support::Wire;
namespace targets = support::targets;
namespace fs = std::filesystem;

class EndTest : public support::EveryStartMethod {
 protected:
  template <class F, class... Args>
  static ExitStatus end_of(F target, Args... args) {
    Process child{options({.name = "ending"}), target, args...};
    child.start();
    child.join();
    return child.exit_status().value();
  }

  // What a child that does `target` writes, and how it ended.
  template <class F, class... Args>
  static support::ChildResult seen(F target, Args... args) {
    return in_child([&] { return end_of(target, args...).exitcode() & 0xff; });
  }
};
MULTIPROC_EVERY_START_METHOD(EndTest);

// The default action: a sanitizer's handler would turn the signal into an exit code.
[[noreturn]] void die_of(int signal) {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::signal(signal, SIG_DFL);
  ::raise(signal);
  std::exit(99);
}

// ---- Codes and signals

TEST_P(EndTest, ATargetThatReturnsEndsWithZero) {
  EXPECT_EQ(end_of(targets::nothing), ExitStatus::exited_with(0));
}

TEST_P(EndTest, StdExitDecidesTheCode) {
  for (const int code : {0, 1, 3, 42, 127, 255})
    EXPECT_EQ(end_of(targets::exit_with, code), ExitStatus::exited_with(code));
  EXPECT_EQ(end_of(targets::exit_with, 256 + 7), ExitStatus::exited_with(7)) << "the kernel keeps eight bits";
}

TEST_P(EndTest, UnderscoreExitDecidesTheCodeToo) {
  EXPECT_EQ(end_of([](int code) { ::_exit(code); }, 5), ExitStatus::exited_with(5));
  EXPECT_EQ(end_of([](int code) { std::_Exit(code); }, 6), ExitStatus::exited_with(6));
}

TEST_P(EndTest, StdExitFromAThreadOfTheTargetDecidesTheCode) {
  EXPECT_EQ(end_of([] {
              std::thread([] { std::exit(8); }).detach();
              targets::sleep_for_ever();
            }),
            ExitStatus::exited_with(8));
}

TEST_P(EndTest, QuickExitDecidesTheCodeToo) {
  EXPECT_EQ(end_of([] { std::quick_exit(8); }), ExitStatus::exited_with(8));
}

TEST_P(EndTest, StdExitWhileAnExceptionIsHandledDecidesTheCode) {
  struct ExitsAtItsEnd {
    ~ExitsAtItsEnd() { std::exit(44); }
  };
  EXPECT_EQ(end_of([] {
              try {
                throw 1;
              } catch (...) {
                std::exit(43);
              }
            }),
            ExitStatus::exited_with(43));
  EXPECT_EQ(end_of([] {
              const ExitsAtItsEnd guard;
              throw 1;
            }),
            ExitStatus::exited_with(44));
}

TEST_P(EndTest, ThreadsThatTheTargetLeavesBehindDoNotHoldItsEndUp) {
  for (const bool by_exit : {false, true}) {
    EXPECT_EQ(end_of(
                  [](bool leaves_by_exit) {
                    for (int i = 0; i < 8; ++i) std::thread(targets::sleep_for_ever).detach();
                    std::thread([] {
                      for (;;) std::fputs("", stdout);
                    }).detach();
                    if (leaves_by_exit) std::exit(5);
                  },
                  by_exit),
              ExitStatus::exited_with(by_exit ? 5 : 0));
  }
}

TEST_P(EndTest, AnUncaughtExceptionOfAThreadIsAnAbort) {
  const auto result = in_child([] {
    EXPECT_EQ(end_of([] {
                const rlimit none{0, 0};
                ::setrlimit(RLIMIT_CORE, &none);
                ::signal(SIGABRT, SIG_DFL);
                std::thread([] { throw std::runtime_error("of a thread"); }).join();
              }),
              ExitStatus::killed_by(SIGABRT));
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(EndTest, ADeadlySignalIsToldAsOne) {
  for (const int signal : {SIGSEGV, SIGABRT, SIGFPE, SIGILL, SIGBUS, SIGTERM, SIGKILL, SIGPIPE, SIGALRM}) {
    EXPECT_EQ(end_of(die_of, signal), ExitStatus::killed_by(signal));
    EXPECT_EQ(end_of(die_of, signal).exitcode(), -signal);
  }
}

TEST_P(EndTest, AbortIsASignal) {
  const auto result = in_child([] {
    EXPECT_EQ(end_of([] {
                const rlimit none{0, 0};
                ::setrlimit(RLIMIT_CORE, &none);
                ::signal(SIGABRT, SIG_DFL);
                std::abort();
              }),
              ExitStatus::killed_by(SIGABRT));
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(EndTest, AnExceptionThatMayNotLeaveAFunctionIsAnAbort) {
  const auto result = in_child([] {
    EXPECT_EQ(end_of([]() noexcept {
                const rlimit none{0, 0};
                ::setrlimit(RLIMIT_CORE, &none);
                ::signal(SIGABRT, SIG_DFL);
                std::vector<int>().at(1);
              }),
              ExitStatus::killed_by(SIGABRT));
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

TEST_P(EndTest, PthreadExitInTheTargetEndsItLikeAReturn) {
  const auto result = seen([] {
    std::printf("said before");
    ::pthread_exit(nullptr);
  });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "said before");
}

// Under fork the thread that starts is the child's main thread, though not its parent's.
TEST_P(EndTest, AChildThatAThreadStartedEndsLikeAnyOther) {
  const auto result = in_child([] {
    std::thread([] {
      EXPECT_EQ(end_of([] { std::printf("[return]"); }), ExitStatus::exited_with(0));
      EXPECT_EQ(end_of([] {
                  std::printf("[exit]");
                  std::exit(4);
                }),
                ExitStatus::exited_with(4));
      EXPECT_EQ(end_of([] {
                  std::printf("[pthread_exit]");
                  ::pthread_exit(nullptr);
                }),
                ExitStatus::exited_with(0));
      EXPECT_EQ(end_of([] {
                  std::printf("[cancel]");
                  ::pthread_cancel(::pthread_self());
                  targets::sleep_for_ever();
                }),
                ExitStatus::exited_with(0));
      EXPECT_EQ(end_of([] { throw 1; }), ExitStatus::exited_with(1));
    }).join();
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_EQ(result.out, "[return][exit][pthread_exit][cancel]");
}

// ---- Uncaught exceptions

TEST_P(EndTest, AnUncaughtExceptionIsToldWithTypeTextNameAndPid) {
  const Wire wire;
  const auto result = seen(
      [](const std::string& path) {
        Wire::tell(path, std::to_string(::getpid()));
        throw std::runtime_error("the disk is on fire");
      },
      wire.path());

  EXPECT_EQ(result.status, 1);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "multiproc: process 'ending' (pid " + wire.hear() +
                            ") ended by an uncaught exception\n  std::runtime_error: the disk is on fire\n");
}

TEST_P(EndTest, ExceptionsOfEveryKindAreToldByTheirTypes) {
  const auto text = [](auto target) {
    const auto result = seen(target);
    EXPECT_EQ(result.status, 1);
    const auto line = result.err.find("\n  ");
    return line == std::string::npos ? "no second line: " + result.err : result.err.substr(line + 3);
  };
  EXPECT_EQ(text([] { throw 42; }), "int\n");
  EXPECT_EQ(text([] { throw "a literal"; }), "char const*: a literal\n");
  EXPECT_EQ(text([] { throw end_test::Custom{7}; }), "end_test::Custom\n");
  EXPECT_EQ(text([] { throw end_test::NoSuchBook("Moby Dick"); }), "end_test::NoSuchBook: Moby Dick\n");
  EXPECT_EQ(text([] { throw std::out_of_range("17"); }), "std::out_of_range: 17\n");
  const std::string of_string = text([] { throw std::string("a string"); });
  EXPECT_NE(of_string.find("string"), std::string::npos) << of_string;
  EXPECT_NE(of_string.find(": a string\n"), std::string::npos) << of_string;
  const std::string of_library = text([] { throw multiproc::InvalidState("ours"); });
  EXPECT_EQ(of_library, "multiproc::InvalidState: ours\n");
}

TEST_P(EndTest, NestedExceptionsAreToldWithTheirCauses) {
  const auto result = seen([] {
    try {
      try {
        throw std::out_of_range("page 900");
      } catch (...) {
        std::throw_with_nested(end_test::NoSuchBook("Moby Dick"));
      }
    } catch (...) {
      std::throw_with_nested(std::runtime_error("reading failed"));
    }
  });
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("reading failed"), std::string::npos) << result.err;
  const auto second = result.err.find("\n  caused by ");
  const auto third = result.err.find("\n  caused by ", second + 1);
  EXPECT_NE(result.err.find("Moby Dick", second), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("std::out_of_range: page 900", third), std::string::npos) << result.err;
}

TEST_P(EndTest, AnExceptionWithoutTextIsToldByItsType) {
  const auto result = seen([] { throw end_test::Speechless(); });
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("end_test::Speechless"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("'ending'"), std::string::npos) << result.err;
}

TEST_P(EndTest, WhatWasSaidBeforeTheExceptionComesBeforeIt) {
  const auto result = in_child([] {
    ::dup2(STDOUT_FILENO, STDERR_FILENO);
    return end_of([] {
             std::printf("first words, ");
             std::cout << "last words\n";
             throw 1;
           })
        .exitcode();
  });
  EXPECT_EQ(result.out.find("first words, last words\nmultiproc: process 'ending'"), 0U) << result.out;
}

TEST_P(EndTest, EachReportIsWholeHoweverManyDieAtOnce) {
  for (const std::size_t size : {std::size_t{300}, std::size_t{20'000}}) {
    SCOPED_TRACE("texts of " + std::to_string(size));
    const auto result = in_child([size] {
      const Wire go;
      std::vector<Process> children;
      for (int i = 0; i < 16; ++i) {
        children.emplace_back(
            options(),
            [](const std::string& path, std::size_t length, char letter) {
              (void)Wire::hear(path);
              throw std::runtime_error(std::string(length, letter));
            },
            go.path(), size, static_cast<char>('a' + i));
        children.back().start();
      }
      for (int i = 0; i < 16; ++i) go.tell("go");
      for (Process& child : children) {
        child.join();
        EXPECT_EQ(child.exitcode(), 1);
      }
    });
    EXPECT_EQ(result.status, 0) << result.out;
    for (char letter = 'a'; letter < 'a' + 16; ++letter) {
      EXPECT_NE(result.err.find("exception\n  std::runtime_error: " + std::string(size, letter) + "\n"),
                std::string::npos)
          << "the report of " << letter << " is torn";
    }
  }
}

TEST_P(EndTest, AnUncaughtExceptionWithStderrClosedIsAnExitCodeAllTheSame) {
  const auto result = in_child([] {
    ::close(STDERR_FILENO);
    EXPECT_EQ(end_of([] { throw 1; }), ExitStatus::exited_with(1));
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST_P(EndTest, AnUncaughtExceptionThatNobodyReadsIsAnExitCodeAndNoSigpipe) {
  const auto result = in_child([] {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    ::dup2(ends[1], STDERR_FILENO);
    ::close(ends[0]);
    ::close(ends[1]);
    EXPECT_EQ(end_of([] { throw 1; }), ExitStatus::exited_with(1));
  });
  EXPECT_EQ(result.status, 0) << result.out;
}

TEST_P(EndTest, TheTextOfAnExceptionIsNoFormatAndMayHoldAnyByte) {
  const auto result = seen([] { throw std::runtime_error("{} {0} %s %n {{\n\xff\xfe\ttail"); });
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("\n  std::runtime_error: {} {0} %s %n {{\n\xff\xfe\ttail\n"), std::string::npos)
      << result.err;
}

TEST_P(EndTest, AMebibyteOfTextIsToldWhole) {
  const auto result = seen([] { throw std::runtime_error(std::string(1U << 20, 'q')); });
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find(": " + std::string(1U << 20, 'q') + "\n"), std::string::npos) << result.err.size();
}

TEST_P(EndTest, ALongChainOfCausesIsToldToItsEnd) {
  struct Chain {
    static void down(int depth) {
      if (depth == 0) throw std::runtime_error("the bottom");
      try {
        down(depth - 1);
      } catch (...) {
        std::throw_with_nested(std::runtime_error("level " + std::to_string(depth)));
      }
    }
  };
  const auto result = seen([] { Chain::down(200); });
  EXPECT_EQ(result.status, 1);
  EXPECT_NE(result.err.find("level 1\n  caused by std::runtime_error: the bottom\n"), std::string::npos) << result.err;
}

TEST_P(EndTest, AnUncaughtExceptionWhenNoMemoryIsLeftIsToldAllTheSame) {
  if (support::kSanitized) GTEST_SKIP() << "a sanitizer's own mappings are larger than any limit";
  const auto result = in_child([] {
    Process child{options({.limits = {.memory_bytes = 1U << 30}}), [] {
                    void* volatile kept = nullptr;  // or the compiler sees that nobody needs it
                    for (std::size_t size = 1U << 24; size >= 16; size /= 2) {
                      do {
                        kept = std::malloc(size);
                      } while (kept != nullptr);
                    }
                    throw std::bad_alloc();
                  }};
    child.start();
    child.join();
    EXPECT_EQ(child.exit_status()->describe(), "exited with code 1");
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_EQ(result.err.find("multiproc: "), 0U) << result.err;
  EXPECT_NE(result.err.find("ended by an uncaught exception"), std::string::npos) << result.err;
}

TEST_P(EndTest, AStreamThatWasToldToThrowDoesNotThrowAtTheEnd) {
  const auto result = in_child([] {
    EXPECT_EQ(end_of([] {
                std::ios::sync_with_stdio(false);
                ::close(STDOUT_FILENO);
                std::cout.exceptions(std::ios::badbit | std::ios::failbit);
                try {
                  std::cout << "nobody hears this";
                } catch (...) {
                }
              }),
              ExitStatus::exited_with(0));
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// ---- Output

TEST_P(EndTest, TheParentsPendingOutputIsWrittenOnceAndBeforeTheChilds) {
  const auto result = in_child([] {
    std::printf("[printf]");
    std::cout << "[cout]";
    std::clog << "[clog]";
    Process child{options(), [] { std::printf("[child]"); }};
    child.start();
    child.join();
    std::printf("[after]");
  });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "[printf][cout][child][after]");
  EXPECT_EQ(result.err, "[clog]");
}

TEST_P(EndTest, SoIsThatOfStreamsThatAreNotTiedToStdio) {
  const auto result = in_child([] {
    std::ios::sync_with_stdio(false);
    std::cout << "[cout]";
    std::clog << "[clog]";
    std::wcerr << L"";
    Process child{options(), [] { std::cout << "[child]"; }};
    child.start();
    child.join();
    std::cout << "[after]" << std::flush;
    std::clog << std::flush;
  });
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_EQ(result.out, "[cout][child][after]");
  EXPECT_EQ(result.err, "[clog]");
}

// Gives stdout back its choice between narrow and wide, which it made when this program first printed.
void forget_width() {
  ASSERT_NE(std::freopen(("/proc/self/fd/" + std::to_string(::dup(STDOUT_FILENO))).c_str(), "w", stdout), nullptr);
}

TEST_P(EndTest, WideOutputIsFlushedToo) {
  const auto of_stdio = in_child([] {
    forget_width();
    std::wprintf(L"[parent]");
    (void)end_of([] { std::wprintf(L"[returns]"); });
    (void)end_of([] {
      std::wcout << L"[exits]";
      std::exit(0);
    });
    std::wprintf(L"[after]");
  });
  EXPECT_EQ(of_stdio.status, 0) << of_stdio.err;
  EXPECT_EQ(of_stdio.out, "[parent][returns][exits][after]");

  const auto of_streams = in_child([] {
    std::ios::sync_with_stdio(false);
    std::wcout << L"[out]";
    std::wclog << L"[log]";
    std::wcerr << std::nounitbuf << L"[err]";
    (void)end_of([] {
      std::ios::sync_with_stdio(false);
      std::wcout << L"[child]";
      std::wclog << L"[child's log]";
      std::wcerr << std::nounitbuf << L"[child's err]";
    });
    std::wcout << L"[after]" << std::flush;
    std::wclog << L"[after]" << std::flush;
  });
  EXPECT_EQ(of_streams.status, 0) << of_streams.err;
  EXPECT_EQ(of_streams.out, "[out][child][after]");
  EXPECT_EQ(of_streams.err.find("[log][err][child's "), 0U) << of_streams.err;
  EXPECT_NE(of_streams.err.find("[child's log]"), std::string::npos) << of_streams.err;
  EXPECT_NE(of_streams.err.find("[child's err]"), std::string::npos) << of_streams.err;
  EXPECT_EQ(of_streams.err.size(), std::string("[log][err][child's log][child's err][after]").size()) << of_streams.err;
}

TEST_P(EndTest, TheChildsOutputIsFlushedHoweverItEndsInOrder) {
  const std::string expected = "[printf][cout]";
  EXPECT_EQ(seen([] {
              std::printf("[printf]");
              std::cout << "[cout]";
            }).out,
            expected);
  EXPECT_EQ(seen([] {
              std::printf("[printf]");
              std::cout << "[cout]";
              std::exit(3);
            }).out,
            expected);
  EXPECT_EQ(seen([] {
              std::printf("[printf]");
              std::cout << "[cout]";
              throw 1;
            }).out,
            expected);
  EXPECT_EQ(seen([] {
              std::ios::sync_with_stdio(false);
              std::cout << "[printf][cout]";
              std::exit(3);
            }).out,
            expected);
}

TEST_P(EndTest, OutputThatWasNotFlushedDiesWithAChildThatEndsAtOnce) {
  EXPECT_EQ(seen([] {
              std::printf("lost");
              ::_exit(0);
            }).out,
            "");
}

class File {
 public:
  File() {
    char name[] = "/tmp/multiproc-test-XXXXXX";
    ::close(::mkstemp(name));
    path_ = name;
  }
  ~File() { fs::remove(path_); }
  const std::string& path() const { return path_; }
  std::string text() const {
    std::ifstream in(path_);
    return {std::istreambuf_iterator<char>(in), {}};
  }

 private:
  std::string path_;
};

TEST_P(EndTest, AFileOfTheChildsOwnIsFlushedAtItsEnd) {
  for (const bool by_exit : {false, true}) {
    const File file;
    (void)end_of(
        [](const std::string& path, bool leaves_by_exit) {
          std::FILE* const own = std::fopen(path.c_str(), "w");
          std::fputs("kept", own);
          if (leaves_by_exit) std::exit(0);
        },
        file.path(), by_exit);
    EXPECT_EQ(file.text(), "kept");
  }
}

TEST(EndByForkTest, AFileThatParentAndChildShareHoldsEachTextOnce) {
  const File file;
  std::FILE* const shared = std::fopen(file.path().c_str(), "w");
  std::fputs("[parent]", shared);
  Process child{{.start_method = StartMethod::fork}, [shared] { std::fputs("[child]", shared); }};
  child.start();
  child.join();
  std::fputs("[parent again]", shared);
  std::fclose(shared);

  EXPECT_EQ(file.text(), "[parent][child][parent again]");
}

// exit() holds a lock of the C library that no fork takes: a child that asked for it would be there for ever.
TEST(EndByForkTest, NoChildIsLeftThoughThreadsForkWhileTheirProcessExits) {
  for (int round = 0; round < 60; ++round) {
    const auto result = in_child([] {
      for (int thread = 0; thread < 4; ++thread) {
        std::thread([] {
          for (;;) {
            Process child{{.start_method = StartMethod::fork}, targets::nothing};
            child.start();
            child.join();
          }
        }).detach();
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      std::exit(0);
    });
    // Not the exit code: glibc itself may abort in a fork beside exit(), which takes fork handlers away meanwhile.
    ASSERT_FALSE(result.timed_out) << "round " << round << ": a child outlived its parent\n" << result.err;
  }
}

// What keeps a child's exit() from the handlers of its parent is made anew for each fork beside threads: it must
// neither stop the parent's own, nor those of a grandchild that the child forks.
TEST(EndByForkTest, BesideThreadsStdExitEndsEachGenerationAndNoOther) {
  const auto result = in_child([] {
    std::thread([] {
      std::atexit([] { std::printf("[handler]"); });
      for (int i = 0; i < 5; ++i) {
        Process child{{.start_method = StartMethod::fork}, [] {
                        std::thread([] {}).join();
                        Process grandchild{{.start_method = StartMethod::fork}, targets::exit_with, 3};
                        grandchild.start();
                        grandchild.join();
                        std::exit(grandchild.exitcode().value() + 1);
                      }};
        child.start();
        child.join();
        EXPECT_EQ(child.exitcode(), 4);
      }
    }).join();
    std::exit(testing::Test::HasFailure() ? 1 : 0);
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
  EXPECT_EQ(result.out, "[handler]");
}

TEST(EndByForkTest, AnOfstreamOfTheParentIsNotWrittenByTheChild) {
  const File file;
  {
    std::ofstream stream(file.path());
    stream << "pending";
    Process child{{.start_method = StartMethod::fork}, targets::exit_with, 3};
    child.start();
    child.join();
    EXPECT_EQ(file.text(), "");
  }
  EXPECT_EQ(file.text(), "pending");
}

// A stdio that gives back what it read ahead moves the position that parent and child share.
TEST_P(EndTest, WhatTheParentReadAheadIsNotGivenBackByItsChildren) {
  const File file;
  { std::ofstream(file.path()) << "first\nsecond\nthird\n"; }
  const auto result = in_child([&] {
    ASSERT_NE(std::freopen(file.path().c_str(), "r", stdin), nullptr);
    char line[64];
    ASSERT_NE(std::fgets(line, sizeof line, stdin), nullptr);
    const off_t read_so_far = ::lseek(STDIN_FILENO, 0, SEEK_CUR);
    ASSERT_GT(read_so_far, 6) << "nothing was read ahead: this test tests nothing";

    EXPECT_EQ(end_of(targets::nothing), ExitStatus::exited_with(0));
    EXPECT_EQ(::lseek(STDIN_FILENO, 0, SEEK_CUR), read_so_far);
    EXPECT_EQ(end_of(targets::exit_with, 3), ExitStatus::exited_with(3));
    EXPECT_EQ(::lseek(STDIN_FILENO, 0, SEEK_CUR), read_so_far);
    EXPECT_EQ(end_of([] { throw 1; }), ExitStatus::exited_with(1));
    EXPECT_EQ(::lseek(STDIN_FILENO, 0, SEEK_CUR), read_so_far);

    ASSERT_NE(std::fgets(line, sizeof line, stdin), nullptr);
    EXPECT_STREQ(line, "second\n");
  });
  EXPECT_EQ(result.status, 0) << result.out << result.err;
}

// ---- Handlers and static objects

int count_of(const std::string& text, const std::string& part) {
  int count = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST_P(EndTest, HandlersAndStaticObjectsOfTheParentAreTheParentsAlone) {
  const std::string method(to_string(GetParam()));
  for (const char* how : {"return", "exit", "throw", "thread_exit"}) {
    SCOPED_TRACE(how);
    const auto result = support::run_program(support::program("exit_handlers"), {method, how});
    EXPECT_EQ(result.status, 0) << result.err;
    EXPECT_EQ(count_of(result.out, "atexit of the program in the parent\n"), 1) << result.out;
    EXPECT_EQ(count_of(result.out, "static object of the program in the parent\n"), 1) << result.out;
    EXPECT_EQ(count_of(result.out, "thread_local of main in the parent\n"), 1) << result.out;
    // A spawned child is a program of its own and ends like one; a forked one has nothing of its parent's to end.
    const int own = GetParam() == StartMethod::spawn ? 1 : 0;
    // std::exit() destroys what is thread_local to its caller before anything else, also in the copy of main's thread.
    if (own == 0 && std::string(how) != "exit") {
      EXPECT_EQ(count_of(result.out, "thread_local of main in a child\n"), 0) << result.out;
    }
    EXPECT_EQ(count_of(result.out, "static object of the program in a child\n"), own) << result.out;
    EXPECT_EQ(count_of(result.out, "atexit of the program in a child\n"), own) << result.out;
  }
}

TEST(EndBySpawnTest, AHandlerThatTheTargetRegistersRuns) {
  for (const char* how : {"return", "exit", "throw"}) {
    SCOPED_TRACE(how);
    const auto result = support::run_program(support::program("exit_handlers"), {"spawn", how});
    EXPECT_EQ(count_of(result.out, "atexit of the target in a child\n"), 1) << result.out;
  }
}

// ---- Non-daemons that nobody waited for

TEST_P(EndTest, AForgottenProcessIsJoinedAtTheEndOfTheProgram) {
  const std::string method(to_string(GetParam()));
  for (const char* how : {"return", "exit", "quick_exit", "exit_in_thread", "static"}) {
    SCOPED_TRACE(how);
    const Wire wire;
    const auto result = support::run_program(support::program("forgotten_child"), {method, how, wire.path()});
    EXPECT_EQ(result.status, 11) << result.err;
    ASSERT_TRUE(wire.has_something()) << "the program ended before its child did";
    EXPECT_EQ(wire.hear(), "child done");
  }
}

}  // namespace
