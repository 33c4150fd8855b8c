// SPDX-License-Identifier: MIT

#include "support/watchdog.hpp"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <system_error>

#include <dirent.h>
#include <execinfo.h>
#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace support {
namespace {

constexpr std::chrono::milliseconds usual_limit = std::chrono::seconds{60};
constexpr int status_of_a_hang = 124;  // timeout(1)'s

// Everything below, up to report_and_end, runs in a signal handler in the middle of anything: no allocation, no stdio,
// no locks.

void write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

// A short text that is put together without the heap; what doesn't fit is left out.
class Line {
 public:
  Line& operator<<(std::string_view text) noexcept {
    const std::size_t size = std::min(text.size(), text_.size() - size_ - 1);
    std::memcpy(text_.data() + size_, text.data(), size);
    size_ += size;
    text_[size_] = '\0';
    return *this;
  }
  Line& operator<<(long number) noexcept {
    std::array<char, 24> digits;
    std::size_t at = digits.size();
    do {
      digits[--at] = static_cast<char>('0' + number % 10);
      number /= 10;
    } while (number > 0 && at > 0);
    return *this << std::string_view{digits.data() + at, digits.size() - at};
  }
  const char* c_str() const noexcept { return text_.data(); }
  std::string_view view() const noexcept { return {text_.data(), size_}; }

 private:
  std::array<char, 512> text_{};
  std::size_t size_ = 0;
};

std::string_view read_file(const char* path, std::array<char, 4096>& buffer) noexcept {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t size = ::read(fd, buffer.data(), buffer.size());
  ::close(fd);
  return {buffer.data(), size > 0 ? static_cast<std::size_t>(size) : 0};
}

// Takes the first number off `text`; 0 when there is none.
long take_number(std::string_view& text) noexcept {
  while (!text.empty() && (text.front() < '0' || text.front() > '9')) text.remove_prefix(1);
  long number = 0;
  while (!text.empty() && text.front() >= '0' && text.front() <= '9') {
    number = number * 10 + (text.front() - '0');
    text.remove_prefix(1);
  }
  return number;
}

template <class Visit>
void for_each_thread(long process, Visit visit) noexcept {
  const Line path = Line{} << "/proc/" << process << "/task";
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  alignas(dirent64) std::array<char, 2048> entries;
  for (ssize_t size = 0; (size = ::getdents64(fd, entries.data(), entries.size())) > 0;) {
    for (ssize_t at = 0; at < size;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries.data() + at);
      at += entry->d_reclen;
      std::string_view name{entry->d_name};
      if (const long thread = take_number(name); thread > 0) visit(thread);
    }
  }
  ::close(fd);
}

template <class Visit>
void for_each_child(long process, Visit visit) noexcept {
  for_each_thread(process, [&](long thread) {
    std::array<char, 4096> buffer;
    const Line path = Line{} << "/proc/" << process << "/task/" << thread << "/children";
    std::string_view children = read_file(path.c_str(), buffer);
    while (const long child = take_number(children)) visit(child);
  });
}

// "    thread 12 (name) S, in do_futex": its /proc/.../stat up to the state, and where it sleeps in the kernel.
void describe_threads(long process, std::string_view word) noexcept {
  for_each_thread(process, [&](long thread) {
    std::array<char, 4096> buffer;
    const Line folder = Line{} << "/proc/" << process << "/task/" << thread;
    std::string_view stat = read_file((Line{} << folder.view() << "/stat").c_str(), buffer);
    if (const auto name_end = stat.rfind(')'); name_end != stat.npos) stat = stat.substr(0, name_end + 3);
    write_all(STDERR_FILENO, (Line{} << "    " << word << " " << stat).view());
    const std::string_view sleeps_in = read_file((Line{} << folder.view() << "/wchan").c_str(), buffer);
    if (sleeps_in.size() > 1) write_all(STDERR_FILENO, (Line{} << ", in " << sleeps_in).view());
    write_all(STDERR_FILENO, "\n");
  });
}

void kill_descendants_down_to(long process, int levels) noexcept {
  if (levels == 0) return;
  for_each_child(process, [&](long child) {
    ::kill(static_cast<pid_t>(child), SIGSTOP);  // it can't fork away while its children are being looked for
    kill_descendants_down_to(child, levels - 1);
    ::kill(static_cast<pid_t>(child), SIGKILL);
  });
}

std::array<char, 256> watched{};  // the name of what is running

void report_and_end(int) {
  const pid_t self = ::getpid();
  write_all(STDERR_FILENO, (Line{} << "\nwatchdog: time limit passed in " << watched.data() << ", process "
                                   << static_cast<long>(self) << "\n  its threads:\n")
                               .view());
  describe_threads(self, "thread");
  write_all(STDERR_FILENO, "  its children:\n");
  for_each_child(self, [](long child) { describe_threads(child, "child"); });
  write_all(STDERR_FILENO, "  where it stood:\n");
  std::array<void*, 64> frames;
  ::backtrace_symbols_fd(frames.data(), ::backtrace(frames.data(), static_cast<int>(frames.size())), STDERR_FILENO);
  kill_descendants(self);
  ::_exit(status_of_a_hang);
}

class Watchdog : public testing::EmptyTestEventListener {
 public:
  Watchdog() {
    std::array<void*, 1> frame;
    ::backtrace(frame.data(), 1);  // loads the unwinder now: its first call allocates

    struct sigaction action {};
    action.sa_handler = &report_and_end;
    ::sigfillset(&action.sa_mask);
    struct sigevent event {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGALRM;
    if (::sigaction(SIGALRM, &action, nullptr) != 0 || ::timer_create(CLOCK_MONOTONIC, &event, &timer_) != 0) {
      throw std::system_error{errno, std::generic_category(), "watchdog"};
    }
  }

  void arm(std::string_view name, std::chrono::milliseconds limit) {
    set_timer(std::chrono::milliseconds{0});
    const std::size_t size = std::min(name.size(), watched.size() - 1);
    std::memcpy(watched.data(), name.data(), size);
    watched[size] = '\0';
    set_timer(scaled(limit));
  }

  // Between the tests of a suite its own set-up and tear-down run, and they may hang as well.
  void OnTestSuiteStart(const testing::TestSuite& suite) override { arm(suite.name(), usual_limit); }
  void OnTestStart(const testing::TestInfo& test) override {
    arm(std::string{test.test_suite_name()} + "." + test.name(), usual_limit);
  }
  void OnTestEnd(const testing::TestInfo& test) override { arm(test.test_suite_name(), usual_limit); }
  void OnTestSuiteEnd(const testing::TestSuite&) override { set_timer(std::chrono::milliseconds{0}); }

 private:
  void set_timer(std::chrono::milliseconds limit) {
    const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(limit);
    struct itimerspec when {};
    when.it_value.tv_sec = seconds.count();
    when.it_value.tv_nsec = std::chrono::nanoseconds{limit - seconds}.count();
    ::timer_settime(timer_, 0, &when, nullptr);
  }

  timer_t timer_{};
};

Watchdog* installed = nullptr;  // owned by GoogleTest's list of listeners

}  // namespace

void install_watchdog() {
  installed = new Watchdog;
  testing::UnitTest::GetInstance()->listeners().Append(installed);
}

void time_limit(std::chrono::milliseconds limit) {
  if (installed != nullptr) installed->arm(std::string{watched.data()}, limit);
}

double time_factor() {
  static const double factor = [] {
    const char* text = std::getenv("MULTIPROC_TEST_TIME_FACTOR");
    const double value = text != nullptr ? std::atof(text) : 0;
    return value > 0 ? value : 1.0;
  }();
  return factor;
}

std::chrono::milliseconds scaled(std::chrono::milliseconds time) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(time * time_factor());
}

void kill_descendants(pid_t process) noexcept {
  kill_descendants_down_to(process, 16);
}

}  // namespace support
