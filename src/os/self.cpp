// SPDX-License-Identifier: MIT

#include <multiproc/os/self.hpp>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <memory>
#include <span>
#include <sstream>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <link.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/single_threaded.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/fault.hpp"
#include "os/sanitizer.hpp"

extern "C" void __gcov_dump(void) __attribute__((weak));  // in coverage builds alone; _exit would lose the counts

namespace multiproc::os {

namespace {

// ThreadSanitizer's own, which survives no fork and holds no lock of ours.
constexpr unsigned kToolThreads = kThreadSanitizer ? 1 : 0;

// Field 9 of /proc/<pid>/task/<tid>/stat, the kernel's task flags (proc(5)); PF_EXITING is set as a thread begins to
// end, before pthread_join can return for it.
bool is_ending(const char* tid) noexcept {
  constexpr unsigned long kPfExiting = 0x4;
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%.20s/stat", tid);
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno == ENOENT || errno == ESRCH;  // gone; a full descriptor table says nothing of the thread
  char text[512];
  const ssize_t got = ::read(fd, text, sizeof text - 1);
  ::close(fd);
  if (got <= 0) return true;
  text[got] = '\0';
  const char* field = std::strrchr(text, ')');  // the command's name may hold anything but ends here
  for (int skipped = 0; field != nullptr && skipped < 7; ++skipped) field = std::strchr(field + 1, ' ');
  return field != nullptr && (std::strtoul(field, nullptr, 10) & kPfExiting) != 0;
}

// The fraction of CPUs that one cgroup directory grants; infinity where it sets no limit.
double quota_of(const std::string& directory) {
  constexpr double kNone = std::numeric_limits<double>::infinity();
  double quota = 0;
  double period = 0;
  if (std::ifstream v2(directory + "/cpu.max"); v2) {
    if (!(v2 >> quota >> period)) return kNone;  // "max 100000"
  } else {
    std::ifstream v1_quota(directory + "/cpu.cfs_quota_us");
    std::ifstream v1_period(directory + "/cpu.cfs_period_us");
    if (!(v1_quota >> quota) || !(v1_period >> period)) return kNone;
  }
  return quota > 0 && period > 0 ? quota / period : kNone;
}

// The smallest quota from this process's cgroup up to the root: each ancestor limits what is below it.
double cgroup_quota() {
  double least = std::numeric_limits<double>::infinity();
  std::ifstream mine("/proc/self/cgroup");
  for (std::string line; std::getline(mine, line);) {  // "0::/path" (v2), "4:cpu,cpuacct:/path" (v1)
    std::istringstream fields(line);
    std::string id, controllers, path;
    if (!std::getline(fields, id, ':') || !std::getline(fields, controllers, ':') || !std::getline(fields, path)) {
      continue;
    }
    const bool has_cpu = ("," + controllers + ",").find(",cpu,") != std::string::npos;
    if (!controllers.empty() && !has_cpu) continue;
    std::vector<std::string> mounts{"/sys/fs/cgroup"};
    if (!controllers.empty()) mounts = {"/sys/fs/cgroup/" + controllers, "/sys/fs/cgroup/cpu"};
    for (const std::string& mount : mounts) {
      for (std::string at = path == "/" ? "" : path;; at.erase(at.rfind('/'))) {
        least = std::min(least, quota_of(mount + at));
        if (at.empty() || at.rfind('/') == std::string::npos) break;
      }
    }
  }
  return least;
}

unsigned affinity_count() {
  for (std::size_t cpus = 1024; cpus <= (std::size_t{1} << 20); cpus *= 2) {
    const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(cpus), [](cpu_set_t* it) { CPU_FREE(it); });
    const std::size_t size = CPU_ALLOC_SIZE(cpus);
    if (set && ::sched_getaffinity(0, size, set.get()) == 0) return static_cast<unsigned>(CPU_COUNT_S(size, set.get()));
    if (errno != EINVAL) break;  // EINVAL: the kernel knows more CPUs than fit
  }
  return static_cast<unsigned>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

// ---- How this program was started: what can't be found out later

const char* executed_as() noexcept {
  const auto* path = reinterpret_cast<const char*>(::getauxval(AT_EXECFN));
  return path != nullptr ? path : "";
}

// `ld.so program`: the kernel loaded no interpreter, for the loader was the program, and yet the program has one.
bool seems_run_by_loader() noexcept {
  if (::getauxval(AT_BASE) != 0) return false;
  bool has_interpreter = false;
  const auto look = [](dl_phdr_info* program, std::size_t, void* found) {
    for (const auto& part : std::span(program->dlpi_phdr, program->dlpi_phnum)) {
      if (part.p_type == PT_INTERP) *static_cast<bool*>(found) = true;
    }
    return 1;  // the program comes first, its libraries are of no interest
  };
  ::dl_iterate_phdr(look, &has_interpreter);
  return has_interpreter;
}

std::vector<std::string> kernels_arguments() {
  std::vector<std::string> words;
  std::ifstream line("/proc/self/cmdline");
  for (std::string word; std::getline(line, word, '\0');) words.push_back(word);
  return words;
}

// In no need of destruction: exit handlers may still start processes.
struct Beginning {
  char* directory = nullptr;  // only where a relative path says what this program is
  bool by_loader = false;
  const std::vector<std::string>* loader = nullptr;  // its words, the program's name among them; null: unknown
};
constinit Beginning beginning;

std::string as_at_the_beginning(const std::string& path) {
  if (path.empty() || path[0] == '/' || beginning.directory == nullptr) return path;
  return std::string(beginning.directory) + "/" + path;
}

// When the program is loaded: a chdir may come, and a program may write over its arguments. glibc hands these to every
// constructor.
__attribute__((constructor(101))) void remember_beginning(int argc, char**, char**) noexcept {
  if (seems_run_by_loader()) {
    std::vector<std::string> words = kernels_arguments();
    const auto of_program = static_cast<std::size_t>(argc);
    beginning.by_loader = words.size() != of_program;  // else it only seemed so: the program had them all
    if (argc > 0 && words.size() > of_program) {
      words.resize(words.size() - of_program + 1);
      beginning.loader = new std::vector<std::string>(std::move(words));
    }
  }
  if (beginning.by_loader || executed_as()[0] != '/') beginning.directory = ::getcwd(nullptr, 0);
}

}  // namespace

[[gnu::hot]] pid_t self_pid() noexcept {
  return ::getpid();
}

pid_t parent_pid() noexcept {
  return ::getppid();
}

bool on_main_thread() noexcept {
  return ::syscall(SYS_gettid) == ::getpid();
}

unsigned thread_count() noexcept {
  if (__libc_single_threaded != 0) return 1;
  // That stays false once there was a second thread. The number of links is 2 + threads: one call in place of a scan.
  struct stat tasks_info {};
  if (::stat("/proc/self/task", &tasks_info) == 0 && tasks_info.st_nlink == 3) return 1;
  DIR* tasks = ::opendir("/proc/self/task");
  if (tasks == nullptr) return 0;
  unsigned count = 0;
  while (const dirent* task = ::readdir(tasks)) {
    if (std::isdigit(static_cast<unsigned char>(task->d_name[0])) != 0 && !is_ending(task->d_name)) ++count;
  }
  ::closedir(tasks);
  return std::max(1U, count > kToolThreads ? count - kToolThreads : 1U);
}

unsigned usable_cpus() {
  const unsigned allowed = affinity_count();
  const double quota = cgroup_quota();
  if (std::isinf(quota)) return std::max(1U, allowed);
  return std::clamp(static_cast<unsigned>(std::ceil(quota)), 1U, std::max(1U, allowed));
}

// /proc/self/exe is no path but the image itself: it stays right when the file is deleted, replaced or out of reach.
OwnImage own_image() {
  constexpr char kSelf[] = "/proc/self/exe";
  const bool has_proc = fault::injected("access") == 0 && ::access(kSelf, X_OK) == 0;
  if (!beginning.by_loader) return {has_proc ? kSelf : as_at_the_beginning(executed_as()), {}};
  if (!has_proc || beginning.loader == nullptr) return {};
  OwnImage image{kSelf, *beginning.loader};    // the loader itself
  std::string& program = image.loader.back();  // without a slash it is to be searched for
  if (program.find('/') != std::string::npos) program = as_at_the_beginning(program);
  return image;
}

char** environment() noexcept {
  return environ;
}

[[gnu::hot]] void exit_now(int code) noexcept {
  if (__gcov_dump != nullptr) __gcov_dump();
  ::_exit(code);
}

void name_process(const char* name) noexcept {
  ::prctl(PR_SET_NAME, name);
}

}  // namespace multiproc::os
