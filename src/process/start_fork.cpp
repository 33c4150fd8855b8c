// SPDX-License-Identifier: MIT

#include <multiproc/os/self.hpp>

#include "process/child_main.hpp"
#include "process/identity.hpp"
#include "process/start.hpp"

namespace multiproc::detail {

[[gnu::hot]] std::shared_ptr<Running> start_by_fork(const Order& order) {
  const ProcessOptions& options = order.options;
  const Identity& mine = identity();

  // Everything that the child needs is made here: between the fork and the target it may not allocate.
  // The identity may stand in this frame: in the child it is never left.
  Identity born_as;
  born_as.name = options.name;
  born_as.path = order.path;
  born_as.parent = os::self_pid();
  born_as.parent_name = mine.name;

  os::ChildSetup setup = setup_of(options);
  os::Fd directory = open_cwd(options);
  setup.directory = directory.get();
  std::unique_ptr<Environment> environment;
  if (!options.env.empty()) {
    environment = std::make_unique<Environment>(options);
    setup.environment = environment->get();
  }
  std::unique_ptr<os::Lifeline> lifeline;
  if (options.daemon) {
    lifeline = std::make_unique<os::Lifeline>();
    os::Result<os::ParentWatch> watch = lifeline->open();
    if (!watch) throw_launch_failure(watch.failure(), options);
    setup.watch = watch.value();
  }
  auto running = std::make_shared<Running>(std::move(lifeline), options.name, options.daemon);
  const Expected expected(running);

  flush_all();
  os::Result<os::Forked> forked = os::fork_child(setup);
  if (!forked) throw_launch_failure(forked.failure(), options);
  if (forked.value().in_child) {
    become(&born_as);
    directory.reset();  // this frame is never left
    live_forked(order.task);
  }
  if (running->lifeline() != nullptr) running->lifeline()->child_end().reset();
  running->born(std::move(forked.value().child), std::nullopt);
  return running;
}

}  // namespace multiproc::detail
