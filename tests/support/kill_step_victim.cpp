// SPDX-License-Identifier: MIT

#include "support/kill_step_victim.hpp"

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>

#include <dlfcn.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include "support/watchdog.hpp"

namespace support::detail {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr auto kLookAgain = 2ms;           // a victim that has not stopped for so long may be asleep
constexpr auto kOwnAccord = 250ms;         // and with nobody to wake it, it is given so long to wake by itself
constexpr std::size_t kLongest = 500'000;  // points; seconds for each step of the way, where there is no breakpoint

[[noreturn]] void fail(const char* what) {
  throw std::system_error{errno, std::generic_category(), what};
}

// The two ends of what is stepped. Instructions, where we know them: nothing of raise() is counted in then.
inline void mark_begin() {
#if defined(__x86_64__)
  __asm__ volatile("int3" ::: "memory");
#else
  ::raise(SIGTRAP);
#endif
}
inline void mark_end() {
#if defined(__x86_64__)
  __asm__ volatile("ud2" ::: "memory");
#else
  ::raise(SIGILL);
#endif
}

// "" unless the process sleeps; otherwise a text that changes when it has been awake in between.
std::string sleep_of(pid_t process) {
  std::ifstream in{"/proc/" + std::to_string(process) + "/status"};
  std::string text;
  bool asleep = false;
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("State:")) asleep = line.find("S (") != line.npos;
    if (line.find("ctxt_switches") != line.npos) text += line;
  }
  return asleep ? text : std::string{};
}

bool ends_a_process(int signal) {
  return signal == SIGSEGV || signal == SIGBUS || signal == SIGABRT || signal == SIGFPE || signal == SIGSYS;
}

cpu_set_t processors_of_this_thread() {
  cpu_set_t processors;
  CPU_ZERO(&processors);
  ::sched_getaffinity(0, sizeof processors, &processors);
  return processors;
}

[[noreturn]] void live_as_victim(const Play& play, Ledger& ledger) {
  guarded(play.warm_up, "warm_up", ledger);
  guarded(play.prepare, "prepare", ledger);
  if (ledger.corrupt != 0) ::_exit(1);
  if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) {
    ledger.note(std::string{"ptrace is refused here: "} + std::strerror(errno));
    ::_exit(1);
  }
  try {
    mark_begin();
    play.operation();
    mark_end();
  } catch (const std::exception& error) {
    ledger.corrupt = 1;
    ledger.note(std::string{"operation: "} + error.what());
  }
  mark_end();
  ::_exit(0);
}

}  // namespace

void Ledger::note(std::string_view what) noexcept {
  const std::size_t used = std::strlen(text.data());
  const std::size_t room = text.size() - 1 - used;
  if (room < 3) return;
  std::size_t at = used;
  if (used > 0) {
    text[at++] = ';';
    text[at++] = ' ';
  }
  const std::size_t size = std::min(what.size(), text.size() - 1 - at);
  std::memcpy(text.data() + at, what.data(), size);
  text[at + size] = '\0';
}

void guarded(const Act& act, std::string_view what, Ledger& ledger) noexcept {
  if (!act) return;
  const bool had_failed = testing::Test::HasFailure();
  std::string wrong;
  try {
    act();
    if (!had_failed && testing::Test::HasFailure()) wrong = "an expectation failed";
  } catch (const std::exception& error) {
    wrong = error.what();
  } catch (...) {
    wrong = "an exception of no known type";
  }
  if (wrong.empty()) return;
  ledger.corrupt = 1;
  ledger.note(std::string{what} + ": " + wrong);
}

// --- Watch and Helper ------------------------------------------------------------------------------------------------

Watch::Watch() : processors_(processors_of_this_thread()) {
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1UL, 0UL, 0UL, 0UL) != 0) fail("prctl(PR_SET_CHILD_SUBREAPER)");
  ::pthread_sigmask(SIG_BLOCK, &child, &mask_);
}

Watch::~Watch() {
  ::pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
  ::prctl(PR_SET_CHILD_SUBREAPER, 0UL, 0UL, 0UL, 0UL);
}

pid_t Watch::fork(const Act& body) const {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child < 0) fail("fork");
  if (child > 0) return child;
  ::prctl(PR_SET_PDEATHSIG, static_cast<unsigned long>(SIGKILL), 0UL, 0UL, 0UL);
  if (::getppid() != parent) ::_exit(1);
  ::pthread_sigmask(SIG_SETMASK, &mask_, nullptr);
  ::sched_setaffinity(0, sizeof processors_, &processors_);
  body();
  ::_exit(0);
}

Helper::~Helper() {
  if (ended()) return;
  kill_descendants(pid_);
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

std::optional<int> Helper::ended() {
  int status = 0;
  if (!status_ && ::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return status_;
}

bool Helper::ends_until(multiproc::Deadline deadline) {
  for (auto pause = 50us; !ended(); pause = std::min<std::chrono::microseconds>(2 * pause, 5ms)) {
    if (deadline.passed()) return false;
    std::this_thread::sleep_for(pause);
  }
  return true;
}

bool Helper::falls_asleep_until(multiproc::Deadline deadline) {
  for (std::string before; !ended() && !deadline.passed();) {
    const std::string now = sleep_of(pid_);
    if (!now.empty() && now == before) return true;
    before = now;
    std::this_thread::sleep_for(200us);
  }
  return false;
}

// --- Victim ----------------------------------------------------------------------------------------------------------

Victim::Victim(const Watch& watch, const Play& play, KillAt kill_at, Ledger& ledger, std::chrono::milliseconds limit)
    : step_request_(kill_at == KillAt::every_instruction ? PTRACE_SINGLESTEP : PTRACE_SYSCALL),
      limit_(limit),
      processors_(processors_of_this_thread()) {
  // Side by side on one processor the two hand over to each other without waking another one.
  cpu_set_t only;
  CPU_ZERO(&only);
  const int here = ::sched_getcpu();
  if (here >= 0) CPU_SET(static_cast<std::size_t>(here), &only);
  pid_ = watch.fork([&] {
    if (here >= 0) ::sched_setaffinity(0, sizeof only, &only);
    live_as_victim(play, ledger);
  });
  if (here >= 0) ::sched_setaffinity(0, sizeof only, &only);
  const Stop stop = wait_for_stop(limit_);
  if (stop == Stop::at_point &&
      ::ptrace(PTRACE_SETOPTIONS, pid_, nullptr, static_cast<long>(PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD)) == 0) {
    return;
  }
  const std::string why = ledger.text[0] != '\0' ? std::string{ledger.text.data()}
                          : stop == Stop::asleep ? "warm_up or prepare does not end"
                                                 : "the victim does not begin: " + why_gone();
  kill();
  throw std::runtime_error{why};
}

Stop Victim::step(const Act& wake) {
  return resume(step_request_, &wake);
}

Stop Victim::step_or_sleep() {
  return resume(step_request_, nullptr);
}

Stop Victim::resume(int request, const Act* wake) {
  slept_ = false;
  const int signal = std::exchange(signal_, 0);
  if (::ptrace(static_cast<__ptrace_request>(request), pid_, nullptr, static_cast<long>(signal)) != 0) {
    return Stop::gone;
  }
  Stop stop = wait_for_stop(kLookAgain);
  if (stop != Stop::asleep) return stop;
  slept_ = true;
  if (wake == nullptr) return stop;
  if (!*wake || was_woken_) return wait_for_stop(kOwnAccord);
  was_woken_ = true;
  (*wake)();
  return wait_for_stop(limit_);
}

Stop Victim::wait_for_stop(std::chrono::milliseconds patience) {
  sigset_t child;
  ::sigemptyset(&child);
  ::sigaddset(&child, SIGCHLD);
  constexpr std::timespec kPause{0, std::chrono::nanoseconds{kLookAgain}.count()};
  std::optional<Clock::time_point> began;
  for (bool slept = false;;) {
    ::sigtimedwait(&child, nullptr, &kPause);
    const pid_t stopped = ::waitpid(pid_, &status_, WNOHANG | __WALL);
    if (stopped == pid_) break;
    if (stopped < 0 && errno != EINTR) return Stop::gone;
    if (!began) began = Clock::now();
    const auto waited = Clock::now() - *began;
    if (waited < patience) continue;
    // Twice, for a process that has just been woken still says so once; and what runs for so long is stuck too.
    const bool sleeps_now = !sleep_of(pid_).empty();
    if ((sleeps_now && slept) || waited > limit_) return Stop::asleep;
    slept = sleeps_now;
  }
  if (!WIFSTOPPED(status_)) {
    pid_ = -1;
    return Stop::gone;
  }
  const int signal = WSTOPSIG(status_);
  if ((signal & ~0x80) == SIGTRAP) return Stop::at_point;  // 0x80: a system call (PTRACE_O_TRACESYSGOOD)
  if (signal == SIGILL) return Stop::at_end;
  if (ends_a_process(signal)) return Stop::gone;
  signal_ = signal;
  return Stop::at_point;
}

std::string Victim::why_gone() const {
  if (WIFSTOPPED(status_)) return std::string{"operation: "} + ::strsignal(WSTOPSIG(status_));
  if (WIFSIGNALED(status_)) return std::string{"operation: killed, "} + ::strsignal(WTERMSIG(status_));
  return "operation: it ended its process";
}

void Victim::kill() noexcept {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    int status = 0;
    for (;;) {
      const pid_t ended = ::waitpid(pid_, &status, __WALL);
      if (ended < 0 && errno != EINTR) break;
      if (ended == pid_ && !WIFSTOPPED(status)) break;
    }
    pid_ = -1;
  }
  ::sched_setaffinity(0, sizeof processors_, &processors_);
}

#if defined(__x86_64__)

std::uintptr_t Victim::place() const {
  errno = 0;
  const long place = ::ptrace(PTRACE_PEEKUSER, pid_, offsetof(struct user, regs.rip), nullptr);
  return errno == 0 ? static_cast<std::uintptr_t>(place) : 0;
}

std::optional<Stop> Victim::run_to(std::uintptr_t place, std::size_t times, const Act& wake) {
  constexpr std::size_t kAddress = offsetof(struct user, u_debugreg);
  constexpr std::size_t kControl = offsetof(struct user, u_debugreg) + 7 * sizeof(long);
  if (::ptrace(PTRACE_POKEUSER, pid_, kAddress, place) != 0) return std::nullopt;
  if (::ptrace(PTRACE_POKEUSER, pid_, kControl, 1UL) != 0) return std::nullopt;  // the first one, for execution
  for (std::size_t seen = 0; seen < times; ++seen) {
    const Stop stop = resume(PTRACE_CONT, &wake);
    if (stop != Stop::at_point) return stop;
  }
  ::ptrace(PTRACE_POKEUSER, pid_, kControl, 0UL);
  return Stop::at_point;
}

#else

std::uintptr_t Victim::place() const {
  return 0;
}

std::optional<Stop> Victim::run_to(std::uintptr_t, std::size_t, const Act&) {
  return std::nullopt;
}

#endif

// --- Path ------------------------------------------------------------------------------------------------------------

Path Path::of(Victim& victim, const Act& wake, KillAt kill_at) {
  const bool by_instruction = kill_at == KillAt::every_instruction;
  const auto place = [&] { return by_instruction ? victim.place() : 0; };
  Path path;
  path.places_.push_back(place());
  for (;;) {
    const Stop stop = victim.step(wake);
    if (victim.slept()) path.sleeps_.push_back(path.points());
    if (stop == Stop::gone) throw std::runtime_error{victim.why_gone()};
    if (stop == Stop::asleep) break;
    if (stop == Stop::at_end && by_instruction) break;  // its last instruction is behind it already
    path.places_.push_back(stop == Stop::at_end ? 0 : place());
    if (stop == Stop::at_end) break;
    if (path.points() > kLongest) throw std::runtime_error{"operation: too long, kill it at every_system_call"};
  }
  path.count_visits();
  return path;
}

void Path::count_visits() {
  std::unordered_map<std::uintptr_t, std::size_t> times;
  visits_.reserve(places_.size());
  for (const std::uintptr_t place : places_) visits_.push_back(place == 0 ? 0 : ++times[place]);
  // A repeated instruction (rep movs) stops at each round when stepped, but only once at a breakpoint; and at the very
  // first instruction a breakpoint would not be noticed, or noticed at once.
  std::vector<std::uintptr_t> uncountable{places_.front()};
  for (std::size_t i = 1; i < places_.size(); ++i) {
    if (places_[i] == places_[i - 1]) uncountable.push_back(places_[i]);
  }
  for (std::size_t i = 0; i < places_.size(); ++i) {
    if (std::find(uncountable.begin(), uncountable.end(), places_[i]) != uncountable.end()) visits_[i] = 0;
  }
}

bool Path::leads_to(const Victim& victim, std::size_t point) const {
  return places_[point] == 0 || places_[point] == victim.place();
}

std::string Path::name_of(std::size_t point) const {
  Dl_info module{};
  const std::uintptr_t place = point < points() ? places_[point] : 0;
  if (place == 0 || ::dladdr(reinterpret_cast<void*>(place), &module) == 0) return {};
  const std::string_view file{module.dli_fname};
  std::array<char, 20> offset{};
  std::snprintf(offset.data(), offset.size(), "0x%zx", place - reinterpret_cast<std::uintptr_t>(module.dli_fbase));
  return std::string{" at "}.append(file.substr(file.rfind('/') + 1)).append("+").append(offset.data());
}

Stop Path::lead(Victim& victim, std::size_t point, const Act& wake) const {
  constexpr std::size_t kNear = 256;
  constexpr std::size_t kRun = 2;  // what a run to a breakpoint costs, in steps
  std::size_t done = 0;
  std::size_t cost = point;
  std::size_t anchor = 0;
  for (std::size_t i = point; i > 0 && point - i < kNear; --i) {
    if (visits_[i] == 0 || kRun * visits_[i] + (point - i) >= cost) continue;
    cost = kRun * visits_[i] + (point - i);
    anchor = i;
  }
  if (anchor > 0) {
    if (const auto stop = victim.run_to(places_[anchor], visits_[anchor], wake)) {
      if (*stop != Stop::at_point) return *stop;
      done = anchor;
    }
  }
  for (; done < point; ++done) {
    const Stop stop = victim.step(wake);
    if (stop != Stop::at_point) return stop;
  }
  return Stop::at_point;
}

}  // namespace support::detail
