// SPDX-License-Identifier: MIT
//
// tests/sync/waker.hpp: a partner of a kill-step test who acts as soon as the victim sleeps. (KillStage::unblock acts
// when it has slept without a break for some 40 ms; what waits in short sleeps never does.)
#pragma once

#include <atomic>
#include <chrono>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include <sys/types.h>
#include <unistd.h>

namespace sync_test {

/// In shared memory.
struct WakerNotes {
  std::atomic<pid_t> victim{0};  // who it is: written in KillStep::prepare
  std::atomic<bool> ready{false};
  std::atomic<bool> over{false};
};

inline bool is_asleep(pid_t process) {
  std::ifstream in("/proc/" + std::to_string(process) + "/stat");
  std::string text;
  std::getline(in, text);
  const auto name_ends = text.rfind(')');  // proc(5): "pid (comm) state", and who is traced and stopped is 't'
  return name_ends != std::string::npos && text.compare(name_ends, 3, ") S") == 0;
}

/// A thread of the partner's process: begins with `first`, and does `then` when the victim sleeps, or something else is
/// the case; at the latest when that one is dead; and again as often as it returns true and that is still the case.
/// Started in KillStage::before, ended in KillStage::after.
class Waker {
 public:
  static void start(WakerNotes& notes, std::function<void()> first, std::function<bool()> then,
                    std::function<bool()> something_else = {}) {
    thread() = std::thread(
        [&notes, first = std::move(first), then = std::move(then), something_else = std::move(something_else)] {
          first();
          notes.ready = true;
          const auto is_due = [&] {
            while (!notes.over) {
              if (something_else ? something_else() : notes.victim != 0 && is_asleep(notes.victim)) return true;
              std::this_thread::sleep_for(std::chrono::microseconds(100));
            }
            return false;
          };
          (void)is_due();
          while (then() && is_due()) {
          }
        });
    while (!notes.ready) std::this_thread::yield();
  }
  static void end(WakerNotes& notes) {
    notes.over = true;
    if (thread().joinable()) thread().join();
  }

 private:
  static std::thread& thread() {
    static std::thread one;
    return one;
  }
};

}  // namespace sync_test
