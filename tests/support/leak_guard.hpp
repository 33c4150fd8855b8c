// SPDX-License-Identifier: MIT
//
// support/leak_guard.hpp: a test leaves the machine as it found it, or fails and names what it left.
//
// main.cpp installs the guard for every test. Compared before and after: open descriptors and what they lead to, living
// and unreaped children, threads, and the names in /dev/shm. A thread that was joined, or a grandchild that was just
// killed, may take a moment to leave /proc, so the guard looks again for a while before it complains. A name in
// /dev/shm that another process holds is that process's affair: tests run side by side.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include <sys/types.h>

namespace support {

/// What this process holds at one moment.
struct Census {
  std::map<int, std::string> descriptors;  // number, and what /proc/self/fd says it is
  std::map<pid_t, std::string> children;   // pid, and "name, state"; zombies too
  std::map<pid_t, std::string> threads;    // tid and name
  std::set<std::string> shm_names;         // in /dev/shm, ours or anybody's

  static Census take();
};

/// One sentence for each thing that `after` has and `before` had not, and for each descriptor that is gone.
std::vector<std::string> differences(const Census& before, const Census& after);

/// Takes the census again until it equals `before` or about two seconds (scaled) have passed.
/// Returns the differences that stay.
std::vector<std::string> left_over_since(const Census& before);

/// Adds the guard to the listeners of this program.
void install_leak_guard();

}  // namespace support
