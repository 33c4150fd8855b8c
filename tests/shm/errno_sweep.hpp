// SPDX-License-Identifier: MIT
//
// tests/shm/errno_sweep.hpp: does something again and again, while the kernel refuses one call after the other with one
// error after the other: it works all the same, or a SystemError says what was refused; nothing is left of it, and it
// works afterwards.
#pragma once

#include <cerrno>
#include <cstring>
#include <exception>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include <multiproc/error.hpp>

#include "os/fault.hpp"
#include "os/os_test.hpp"
#include "support/in_child.hpp"

namespace sweep_test {

struct Sweep {
  std::vector<const char*> calls;      // those that may be made
  std::string_view object;             // what the text of a refusal has in it
  std::function<void()> before{};      // not refused anything
  std::function<void()> act;           // what it leaves open counts as left
  std::function<void()> on_refusal{};  // what must hold then
  std::function<void()> on_end{};      // after it worked
};

struct Seen {
  int refusals = 0;
  int works = 0;
};

// EINTR is for calls that wait or take long.
inline bool can_happen(std::string_view call, int error) {
  const bool takes_long = call == "fallocate" || call == "posix_fallocate" || call == "shm_open" || call == "futex" ||
                          call == "write" || call == "open";
  return error != EINTR || takes_long;
}

inline Seen sweep(const Sweep& how) {
  Seen seen;
  const auto try_once = [&](const char* call, int error, int nth) {
    SCOPED_TRACE(std::string(call) + ", " + std::strerror(error) + ", call " + std::to_string(nth));
    if (how.before) how.before();
    const auto before = os_test::descriptors();
    bool refused = false;
    bool asked = false;
    try {
      const os_test::Refusing refusing{call, error, nth};
      try {
        how.act();
      } catch (...) {
        asked = multiproc::os::fault::seen(call) >= nth;
        throw;
      }
      asked = multiproc::os::fault::seen(call) >= nth;
      ++seen.works;
    } catch (const multiproc::SystemError& refusal) {
      refused = true;
      ++seen.refusals;
      const std::string_view text = refusal.what();
      EXPECT_EQ(refusal.code().value(), error) << text;
      EXPECT_TRUE(text.starts_with(call)) << text;
      EXPECT_NE(text.find(how.object), text.npos) << text;
      EXPECT_NE(text.find(std::strerror(error)), text.npos) << text;
      EXPECT_NE(error, EINTR) << text;
      EXPECT_EQ(os_test::descriptors(), before) << text;
    } catch (const std::exception& other) {
      ADD_FAILURE() << "not a SystemError: " << other.what();
    }
    if (refused && how.on_refusal) how.on_refusal();
    if (refused) {
      EXPECT_NO_THROW(how.act()) << "the second try";
    }
    if (how.on_end) how.on_end();
    return asked;
  };
  for (const char* const call : how.calls) {
    for (const int error : {ENOMEM, ENOSPC, EMFILE, EPERM, ENOSYS, EINTR}) {
      if (!can_happen(call, error)) continue;
      int nth = 1;
      while (nth < 20 && try_once(call, error, nth) && !testing::Test::HasFailure()) ++nth;
      EXPECT_GT(nth, 1) << call << " was never called";
    }
  }
  return seen;
}

/// In a process of its own: what it leaves open for good does not disturb the leak guard. Both outcomes must occur.
inline void expect_clean_sweep(const Sweep& how) {
  const auto child = support::in_child([&] {
    const Seen seen = sweep(how);
    EXPECT_GT(seen.refusals, 0);
    EXPECT_GT(seen.works, 0);
  });
  EXPECT_EQ(child.status, 0) << how.object << "\n" << child.out << child.err;
}

}  // namespace sweep_test
