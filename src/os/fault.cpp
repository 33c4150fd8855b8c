// SPDX-License-Identifier: MIT

#include "os/fault.hpp"

#include <array>
#include <cstring>

namespace multiproc::os::fault {

namespace {

struct Rule {
  const char* call = nullptr;
  int error = 0;
  int first = 0;
  int times = 0;
  std::atomic<int> seen{0};
};

std::array<Rule, 16> rules;
std::atomic<std::size_t> rule_count{0};

}  // namespace

std::atomic<bool> detail::armed{false};

int detail::consult(const char* call) noexcept {
  for (std::size_t i = 0; i < rule_count.load(std::memory_order_acquire); ++i) {
    Rule& rule = rules[i];
    if (std::strcmp(rule.call, call) != 0) continue;
    const int nth = rule.seen.fetch_add(1, std::memory_order_relaxed) + 1;
    if (nth >= rule.first && nth < rule.first + rule.times) return rule.error;
  }
  return 0;
}

void arm(const char* call, int error, int nth, int times) noexcept {
  const std::size_t next = rule_count.load(std::memory_order_relaxed);
  if (next == rules.size()) return;
  Rule& rule = rules[next];
  rule.call = call;
  rule.error = error;
  rule.first = nth;
  rule.times = times;
  rule.seen.store(0, std::memory_order_relaxed);
  rule_count.store(next + 1, std::memory_order_release);
  detail::armed.store(true, std::memory_order_relaxed);
}

void disarm() noexcept {
  detail::armed.store(false, std::memory_order_relaxed);
  rule_count.store(0, std::memory_order_release);
}

int seen(const char* call) noexcept {
  for (std::size_t i = 0; i < rule_count.load(std::memory_order_acquire); ++i) {
    if (std::strcmp(rules[i].call, call) == 0) return rules[i].seen.load(std::memory_order_relaxed);
  }
  return 0;
}

}  // namespace multiproc::os::fault
