// SPDX-License-Identifier: MIT
//
// own_image <delete|replace|move|chdir|without_proc|cwd>: does to its own file what the argument says, or goes
// elsewhere, or has no /proc, or wants the child to be elsewhere without it; then spawns a child and prints its exit
// code, which is to be 31.

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <multiproc/error.hpp>
#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/process.hpp>

#include "os/fault.hpp"

namespace fs = std::filesystem;

int main(int argc, char** argv) {
  multiproc::main_guard(argc, argv);
  const std::string how = argc > 1 ? argv[1] : "";
  const fs::path file = fs::read_symlink("/proc/self/exe");
  if (how == "delete") fs::remove(file);
  if (how == "replace") {
    fs::remove(file);
    std::ofstream(file) << "#!/bin/sh\necho the usurper\n";
    fs::permissions(file, fs::perms::owner_all);
  }
  if (how == "move") fs::rename(file, file.string() + ".old");
  if (how == "chdir") fs::current_path("/");

  if (how == "without_proc" || how == "cwd") multiproc::os::fault::arm("access", ENOENT, 1, 100);
  if (how == "without_proc") fs::current_path("/");

  multiproc::ProcessOptions options{.start_method = multiproc::StartMethod::spawn};
  if (how == "cwd") options.cwd = "/";
  multiproc::Process child{options, [](int code) { std::exit(code); }, 31};
  try {
    child.start();
  } catch (const multiproc::Unsupported& refusal) {
    std::printf("Unsupported: %s\n", refusal.what());
    return 0;
  }
  child.join();
  std::printf("exit code %d\n", child.exitcode().value_or(-1000));
  return 0;
}
