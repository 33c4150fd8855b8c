// SPDX-License-Identifier: MIT

#include <cerrno>
#include <memory>
#include <optional>
#include <utility>

#include <multiproc/error.hpp>

#include "process/child_main.hpp"
#include "process/children.hpp"
#include "process/exit_stop.hpp"
#include "process/identity.hpp"
#include "process/start.hpp"

namespace multiproc::detail {

namespace {

struct Birth {
  Identity* identity;
  os::Fd* directory;
  os::Lifeline* lifeline;
  Task* task;
};

// Hot by name too: GCC takes what never returns for something that need not be near.
[[gnu::hot, gnu::section(".text.hot")]] void live(void* with, const os::AllSignalsBlocked& blocked) noexcept {
  const Birth& birth = *static_cast<Birth*>(with);
  become(birth.identity);
  if (*birth.directory) birth.directory->reset();                              // that frame is never left
  if (birth.lifeline != nullptr) (void)birth.lifeline->child_end().release();  // until this process ends
  live_forked(*birth.task, blocked);
}

}  // namespace

[[gnu::hot]] void start_by_fork(const Order& order, Running& running) {
  const ProcessOptions& options = order.options;
  const Identity& mine = identity();

  // Everything that the child needs is made here: between the fork and the target it may not allocate.
  // The identity of a child of the main thread may stand in this frame, which is never left in the child.
  Identity in_this_frame;
  std::unique_ptr<Identity> in_heap;
  if (!is_noted_here()) in_heap = std::make_unique<Identity>();
  Identity& born_as = in_heap ? *in_heap : in_this_frame;
  born_as.name = options.name;
  born_as.path = order.path;
  born_as.parent = this_pid();
  born_as.parent_name = mine.name;
  born_as.is_forked = true;
  born_as.before = &mine;

  os::ChildSetup setup = setup_of(options);
  setup.settles_later = true;
  os::Fd directory = open_cwd(options);
  setup.directory = directory.get();
  std::unique_ptr<Environment> environment;
  if (!options.env.empty()) {
    environment = std::make_unique<Environment>(options);
    setup.environment = environment->get();
  }
  setup.watch = open_watch(options, running);
  os::Lifeline* const lifeline = running.lifeline();

  put_exit_stop_in_front();
  flush_all();
  Birth birth{&born_as, &directory, lifeline, &order.task};
  os::Result<os::Child> child = os::fork_child(setup, live, &birth, start_deadline(options));
  if (!child && child.error() == ETIMEDOUT) {
    throw TimeoutError("process '" + options.name + "': the child was not set up within start_timeout, and was killed");
  }
  if (!child) throw_launch_failure(child.failure(), options);
  if (lifeline != nullptr) lifeline->child_end().reset();
  running.born(std::move(child.value()), std::nullopt);
}

}  // namespace multiproc::detail
