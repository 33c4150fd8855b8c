// SPDX-License-Identifier: MIT

#include "support/kill_step.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include <gtest/gtest.h>

#include <multiproc/deadline.hpp>
#include <multiproc/os/futex.hpp>

#include "os/sanitizer.hpp"
#include "support/kill_step_victim.hpp"
#include "support/leak_guard.hpp"
#include "support/watchdog.hpp"

namespace support {
namespace detail {
namespace {

using namespace std::chrono_literals;
using multiproc::Deadline;
using Clock = std::chrono::steady_clock;

// Under AddressSanitizer a fork takes ten times as long, and the points have been tried without it already.
constexpr bool kSlowForks = multiproc::os::kAddressSanitizer;
constexpr std::size_t kEdge = kSlowForks ? 15 : 50;  // points at either end that are never left out
constexpr int kPartOfBudget = kSlowForks ? 4 : 1;
constexpr std::size_t kMostNotes = 20;  // what is more says the same

enum Order : std::uint32_t { kNone, kReady, kUnblock, kAfter, kCheck };

// What the harness and the processes of one trial have between them.
struct Control {
  std::atomic<std::uint32_t> order{kNone};
  std::atomic<std::uint32_t> done{kNone};
  Ledger partner;
  Ledger blocked;
  Ledger victim;
};

void set(std::atomic<std::uint32_t>& word, std::uint32_t value) {
  word.store(value);
  multiproc::os::futex_wake(word, 1).or_throw("kill_step");
}

// The partner process: does what it is ordered to, one after another.
class Partner {
 public:
  Partner(const Watch& watch, const Play& play, Control& control, std::chrono::milliseconds limit)
      : control_(control), limit_(limit), process_(watch, [&play, &control] { live(play, control); }) {}

  enum class Answer { done, hangs, ended };

  Answer does(Order order) {
    set(control_.order, order);
    const Deadline until{limit_};
    for (;;) {
      const std::uint32_t done = control_.done.load();
      if (done == order) return Answer::done;
      if (process_.ended()) return control_.done.load() == order ? Answer::done : Answer::ended;
      if (until.passed()) return Answer::hangs;
      multiproc::os::futex_wait(control_.done, done, Deadline::earlier(until, Deadline{20ms})).or_throw("kill_step");
    }
  }

 private:
  static void live(const Play& play, Control& control) {
    guarded(play.before, "before", control.partner);
    for (std::uint32_t last = kNone; last != kCheck;) {
      const std::uint32_t order = control.order.load();
      if (order == last) {
        multiproc::os::futex_wait(control.order, last, Deadline::never()).or_throw("kill_step");
        continue;
      }
      if (order == kUnblock) guarded(play.unblock, "unblock", control.partner);
      if (order == kAfter) guarded(play.after, "after", control.partner);
      if (order == kCheck) {
        Findings found{control.partner};
        guarded([&] { play.check(found); }, "check", control.partner);
      }
      set(control.done, order);
      last = order;
    }
  }

  Control& control_;
  std::chrono::milliseconds limit_;
  Helper process_;
};

struct Point {
  std::size_t index;
  bool asleep = false;       // killed in the sleep on the way to `index`
  bool may_be_left = false;  // when the budget is used up
};

// In the order in which they are tried. Those in the middle come as multiples of the golden ratio do, so that they are
// evenly spread whenever the budget ends.
std::vector<Point> points_of(const Path& path) {
  std::vector<Point> points;
  for (const std::size_t index : path.sleeps()) points.push_back({index, true});
  const std::size_t count = path.points();
  const std::size_t edge = std::min(kEdge, count / 2);
  for (std::size_t i = 0; i < edge; ++i) points.push_back({i});
  for (std::size_t i = count - edge; i < count; ++i) points.push_back({i});
  const std::size_t middle = count - 2 * edge;
  if (middle == 0) return points;
  std::size_t stride = std::max<std::size_t>(1, static_cast<std::size_t>(static_cast<double>(middle) * 0.618));
  while (std::gcd(stride, middle) != 1) ++stride;
  for (std::size_t i = 0, at = 0; i < middle; ++i, at = (at + stride) % middle) {
    points.push_back({edge + at, false, count > 2 * kEdge});
  }
  return points;
}

struct Outcome {
  bool hang = false;
  bool lost = false;
  bool corrupt = false;
  bool leaked = false;
  bool astray = false;
  std::string text{};

  void say(std::string_view what) {
    if (!text.empty()) text += "; ";
    text += what;
  }
  void read(const Ledger& ledger) {
    lost = lost || ledger.lost != 0;
    corrupt = corrupt || ledger.corrupt != 0;
    leaked = leaked || ledger.leaked != 0;
    if (ledger.text[0] != '\0') say(ledger.text.data());
  }
  bool clean() const { return !hang && !lost && !corrupt && !leaked; }
};

// One state, and all that happens to it.
class Trial {
 public:
  Trial(const Watch& watch, const Rules& rules, const Play& play, Control& control)
      : watch_(watch), rules_(rules), play_(play), control_(control), limit_(scaled(rules.limit)) {}

  Path explore() {
    Path path;
    meanwhile([&](Victim& victim, const Act& wake) { path = Path::of(victim, wake, rules_.kill_at); });
    outcome_.read(control_.victim);
    outcome_.read(control_.partner);
    if (!outcome_.clean()) throw std::runtime_error{outcome_.text};
    return path;
  }

  Outcome kill_at(const Path& path, const Point& point) {
    meanwhile([&](Victim& victim, const Act& wake) {
      const Stop stop = path.lead(victim, point.asleep ? point.index - 1 : point.index, wake);
      if (stop == Stop::gone) wrong(victim.why_gone());
      if (stop == Stop::at_point && point.asleep) victim.step_or_sleep();
      if (!point.asleep) outcome_.astray = stop == Stop::asleep || !path.leads_to(victim, point.index);
      victim.kill();
      carry_on();
    });
    return outcome_;
  }

 private:
  template <class F>
  void meanwhile(F happen) {
    new (&control_) Control{};
    std::optional<Helper> blocked;
    Partner partner{watch_, play_, control_, limit_};
    partner_ = &partner;
    blocked_ = &blocked;
    if (partner.does(kReady) != Partner::Answer::done) throw std::runtime_error{"before: does not end"};
    if (control_.partner.corrupt != 0) throw std::runtime_error{control_.partner.text.data()};
    Victim victim{watch_, play_, rules_.kill_at, control_.victim, limit_};
    if (play_.blocked) {
      blocked.emplace(watch_, [this] { guarded(play_.blocked, "blocked", control_.blocked); });
      if (!blocked->falls_asleep_until(limit_)) throw std::runtime_error{"blocked: it does not fall asleep"};
    }
    const Act wake = play_.unblock ? Act{[&] { demand(kUnblock, "unblock"); }} : Act{};
    happen(victim, wake);
  }

  void carry_on() {
    demand(kAfter, "after");
    if (*blocked_ && !outcome_.hang) {
      if (!(*blocked_)->ends_until(limit_)) {
        hangs("blocked");
      } else if (*(*blocked_)->ended() != 0) {
        wrong("blocked: its process was killed");
      }
    }
    if (!outcome_.hang) demand(kCheck, "check");
    outcome_.read(control_.partner);
    outcome_.read(control_.blocked);
    outcome_.read(control_.victim);
  }

  void demand(Order order, std::string_view name) {
    switch (partner_->does(order)) {
      case Partner::Answer::done: return;
      case Partner::Answer::hangs: return hangs(name);
      case Partner::Answer::ended: return wrong(std::string{name} += ": its process was killed");
    }
  }
  void hangs(std::string_view name) {
    outcome_.hang = true;
    outcome_.say(std::string{name} += ": hangs");
  }
  void wrong(std::string_view what) {
    outcome_.corrupt = true;
    outcome_.say(what);
  }

  const Watch& watch_;
  const Rules& rules_;
  const Play& play_;
  Control& control_;
  const std::chrono::milliseconds limit_;
  Outcome outcome_{};
  Partner* partner_ = nullptr;
  std::optional<Helper>* blocked_ = nullptr;
};

// What is there now and was not before. A victim's orphans have come to us (Watch) and get a moment to end by
// themselves.
std::vector<std::string> leaks_since(const Census& before) {
  const Deadline patience{scaled(2000ms)};
  for (;;) {
    Census now = Census::take();
    if (differences(before, now).empty()) return {};
    for (const auto& [child, text] : now.children) {
      if (before.children.contains(child)) continue;
      if (patience.passed()) {
        kill_descendants(child);
        ::kill(child, SIGKILL);
        ::waitpid(child, nullptr, 0);
      } else {
        ::waitpid(child, nullptr, WNOHANG);
      }
    }
    if (patience.passed()) return differences(before, now);
    std::this_thread::sleep_for(1ms);
  }
}

bool is_exhaustive() {
  const char* mode = std::getenv("MULTIPROC_KILL_STEP");
  return mode != nullptr && std::string_view{mode} == "exhaustive";
}

std::string describe(const std::string& stage, const Point& point, const Path& path, KillAt kill_at) {
  std::string text = stage + ", killed ";
  if (point.asleep) text += "asleep ";
  text += kill_at == KillAt::every_instruction ? "after instruction " : "at system call stop ";
  return text + std::to_string(point.asleep ? point.index - 1 : point.index) + " of " +
         std::to_string(path.points() - 1) + path.name_of(point.asleep ? point.index - 1 : point.index) + ": ";
}

void with_fresh_state(const Rules& rules, const Stage& stage, const std::function<void(const Play&)>& perform) {
  try {
    stage.with_fresh_state(perform);
  } catch (const std::exception& error) {
    throw std::runtime_error{rules.name + ", " + stage.name + ": " + error.what()};
  }
}

}  // namespace

KillReport examine(const Rules& rules, const std::vector<Stage>& stages) {
  const auto began = Clock::now();
  const bool exhaustive = is_exhaustive();
  const auto memory = multiproc::os::map_inheritable(sizeof(Control)).or_throw("kill_step");
  auto& control = *new (memory.bytes().data()) Control{};
  std::cout.flush();
  std::fflush(nullptr);  // or each child that a state forks has our output to flush

  KillReport report{.name = rules.name};
  const Watch watch;
  Census census = Census::take();
  std::size_t faulty = 0;
  std::size_t at_stage = 0;
  for (const Stage& stage : stages) {
    if (faulty >= rules.enough) break;
    const auto until =
        began + rules.budget * static_cast<int>(++at_stage) / static_cast<int>(stages.size()) / kPartOfBudget;
    Path path;
    with_fresh_state(rules, stage, [&](const Play& play) { path = Trial{watch, rules, play, control}.explore(); });
    if (!leaks_since(census).empty()) census = Census::take();  // its last kill point finds the same and tells it
    const auto points = points_of(path);
    report.possible += points.size();
    for (const Point& point : points) {
      if (faulty >= rules.enough) break;
      if (point.may_be_left && !exhaustive && Clock::now() > until) break;
      time_limit(60s + 10 * rules.limit);
      Outcome outcome;
      with_fresh_state(rules, stage, [&](const Play& play) {
        outcome = Trial{watch, rules, play, control}.kill_at(path, point);
      });
      if (const auto leaks = leaks_since(census); !leaks.empty()) {
        outcome.leaked = true;
        for (const std::string& leak : leaks) outcome.say(leak);
        census = Census::take();
      }
      ++report.kill_points;
      report.hangs += outcome.hang ? 1 : 0;
      report.lost += outcome.lost ? 1 : 0;
      report.corrupt += outcome.corrupt ? 1 : 0;
      report.leaked += outcome.leaked ? 1 : 0;
      report.astray += outcome.astray ? 1 : 0;
      if (outcome.clean()) continue;
      ++faulty;
      if (report.notes.size() < kMostNotes) {
        report.notes.push_back(describe(stage.name, point, path, rules.kill_at) + outcome.text);
      }
    }
  }
  report.took = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - began);
  return report;
}

void expect_clean(const KillReport& report) {
  std::printf("%s\n", report.line().c_str());
  std::fflush(stdout);
  if (report.clean()) return;
  std::string notes;
  for (const std::string& note : report.notes) notes += "\n  " + note;
  ADD_FAILURE() << report.line() << notes;
}

}  // namespace detail

void Findings::lost(std::string_view what) {
  ++ledger_->lost;
  ledger_->note(what);
}

void Findings::corrupt(std::string_view what) {
  ++ledger_->corrupt;
  ledger_->note(what);
}

void Findings::leaked(std::string_view what) {
  ++ledger_->leaked;
  ledger_->note(what);
}

std::string KillReport::line() const {
  return name + " " + std::to_string(kill_points) + " kill points, " + std::to_string(hangs) + " hangs, " +
         std::to_string(lost) + " lost, " + std::to_string(corrupt) + " corrupt, " + std::to_string(leaked) + " leaked";
}

}  // namespace support
