// SPDX-License-Identifier: MIT
//
// own_image <delete|replace|move|chdir>: does to its own file what the argument says, then spawns a child and prints
// its exit code, which is to be 31.

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/process.hpp>

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

  multiproc::Process child{{.start_method = multiproc::StartMethod::spawn}, [](int code) { std::exit(code); }, 31};
  child.start();
  child.join();
  std::printf("exit code %d\n", child.exitcode().value_or(-1000));
  return 0;
}
