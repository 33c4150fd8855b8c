// SPDX-License-Identifier: MIT
//
// multiproc/process/process.hpp: a function that runs in a process of its own.
//
//     multiproc::Process worker{count_words, "book.txt"};
//     worker.start();
//     worker.join();                        // worker.exitcode() == 0
//
// A Process is made and used by one process; any of its threads may call any member, but start, close, move and
// destruction want the object for themselves. In a child that was forked meanwhile it is a dead copy: it may be
// destroyed there, and everything else throws InvalidState.
//
// The end     Of a forked child: its own children are joined, streams flushed, and no handler of atexit and no static
//             destructor of its parent runs, be it by return, exception or std::exit(). Out of reach are handlers of
//             quick_exit, and thread_local objects of the thread that forked: std::exit() destroys those. A spawned
//             child ends as any program does.
// Death       The target can end in any way, this process with it: join() then returns, a daemon is killed by the
//             kernel when its parent ends, and nothing is left behind. No SIGCHLD handler, no waitpid(-1), no thread.
// Stands on   os/launch.hpp, os/child.hpp, process/task.hpp.
#pragma once

#include <chrono>
#include <csignal>  // pid_t
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <multiproc/deadline.hpp>
#include <multiproc/exit_status.hpp>
#include <multiproc/process/start_method.hpp>
#include <multiproc/process/task.hpp>

namespace multiproc {

/// Bounds on what a child may use; unset: as its parent. Only root may go above its own hard limits.
struct Limits {
  std::optional<std::uint64_t> memory_bytes{};  // address space (RLIMIT_AS): beyond it, allocations fail
  std::optional<std::uint64_t> cpu_seconds{};   // CPU time (RLIMIT_CPU): SIGXCPU there, SIGKILL one second later
  std::optional<std::uint64_t> open_files{};    // descriptors (RLIMIT_NOFILE)
};

struct ProcessOptions {
  std::string name{};                                       // "": "Process-N"; "Process-1:2" for a grandchild
  bool daemon = false;                                      // ends when its parent does, however that ends
  std::optional<StartMethod> start_method{};                // unset: get_start_method()
  std::vector<int> cpus{};                                  // may run on these alone; empty: as its parent
  Limits limits{};                                          //
  std::vector<std::pair<std::string, std::string>> env{};   // added to the inherited environment
  std::filesystem::path cwd{};                              // starts there; "": as its parent
  std::optional<std::chrono::nanoseconds> start_timeout{};  // how long start() may wait for the child; unset: no bound
};

namespace detail {
class Running;
}

class Process {
 public:
  /// Keeps copies of `target` and `args`, to be called as std::invoke(target, args...) in the child, like std::thread;
  /// string literals are kept as strings. What the target returns is dropped. Starts nothing.
  template <class F, class... Args>
    requires(!std::is_same_v<std::remove_cvref_t<F>, Process> &&
             !std::is_same_v<std::remove_cvref_t<F>, ProcessOptions>)
  explicit Process(F&& target, Args&&... args)
      : Process(detail::make_task(std::forward<F>(target), std::forward<Args>(args)...), ProcessOptions{}) {}

  template <class F, class... Args>
  Process(ProcessOptions options, F&& target, Args&&... args)
      : Process(detail::make_task(std::forward<F>(target), std::forward<Args>(args)...), std::move(options)) {}

  /// A Process that is always spawned, so that what can't travel is found by the compiler instead of by start().
  template <class F, class... Args>
  static Process spawned(ProcessOptions options, F&& target, Args&&... args) {
    detail::require_travels<F, Args...>();
    options.start_method = StartMethod::spawn;
    return Process(std::move(options), std::forward<F>(target), std::forward<Args>(args)...);
  }

  Process(Process&& other) noexcept;
  Process& operator=(Process&& other) noexcept;  // ends what it held before, as the destructor does

  /// Not a daemon: waits for its end. A daemon: kills it and takes its status. Nothing to do when joined, closed, not
  /// started, or in another process than the one that started it.
  ~Process();

  /// Makes the child. What goes wrong on its way to the target is thrown here, not later, and leaves neither child nor
  /// descriptor; the object may be started again.
  ///
  /// Throws
  ///   SystemError       the kernel refused: no more processes, memory, descriptors; a cwd, limit or CPU that can't be.
  ///   NotSendable       spawn: the target or an argument can't travel; names it and the remedy.
  ///   MainGuardMissing  spawn: main() does not call main_guard().
  ///   LaunchError       spawn: the child ended, or could not decode its arguments, before the target began.
  ///   TimeoutError      start_timeout passed before the child was ready; it was killed.
  ///   InvalidState      started already; or an implicit fork while several threads run.
  ///   Unsupported       a start method that this version does not have.
  ///
  /// Target and arguments are the child's from then on: what this object kept of them is destroyed.
  ///
  /// Flushes all stdio streams and the standard iostreams before. Blocks until the child is born, and its options are
  /// in force (fork), or until it has all it needs and is about to call the target (spawn).
  void start();

  /// Waits for the end and takes the status. Any number of times, from any thread.
  void join();

  /// The same until the deadline. False: still running.
  [[nodiscard]] bool join(Deadline deadline);

  /// Started and not ended. Does not block.
  bool is_alive() const;

  pid_t pid() const;  // 0 before start()
  const std::string& name() const noexcept { return options_.name; }
  bool daemon() const noexcept { return options_.daemon; }

  /// What became of it; nullopt before start() and while it runs. Does not block.
  std::optional<ExitStatus> exit_status() const;

  /// Python's number for it: the exit code, or minus the signal; 255 when the status was taken by somebody else.
  std::optional<int> exitcode() const;

  /// Sends SIGTERM, SIGKILL, SIGINT, or any signal. Nothing happens when it has ended. Throws InvalidState before
  /// start(), SystemError for a signal that does not exist or a child that runs as another user.
  void terminate();
  void kill();
  void interrupt();
  void send_signal(int signal);

  /// A descriptor (a pidfd) that is readable once the process has ended: for poll, epoll and event loops. Belongs to
  /// this object. Throws InvalidState before start().
  int sentinel() const;

  /// Gives back what the object holds. Throws InvalidState while the process is alive; afterwards only destruction and
  /// assignment are left.
  void close();

 private:
  Process(std::unique_ptr<detail::Task> task, ProcessOptions options);
  detail::Running& running(const char* what) const;
  void end() noexcept;

  std::unique_ptr<detail::Task> task_;  // null: moved from or closed
  ProcessOptions options_;
  std::string path_;                          // "1:2": which child of which child it is
  pid_t maker_;                               // the process whose object this is
  std::shared_ptr<detail::Running> running_;  // null before start()
};

}  // namespace multiproc
