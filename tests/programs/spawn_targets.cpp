// SPDX-License-Identifier: MIT
//
// spawn_targets: spawns functions of every kind and prints their exit codes, which are to be 1, 2, ... Built as usual,
// without PIE and without a build id; says which of these it finds itself to be.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <multiproc/os/module.hpp>
#include <multiproc/process/main_guard.hpp>
#include <multiproc/process/process.hpp>

namespace {

void function_of_this_file(int code) {
  std::exit(code);
}

template <int more>
void instance_of_a_template(int code) {
  std::exit(code + more);
}

struct Functor {
  int code = 0;
  template <class Archive>
  void serialize(Archive& archive) {
    archive(code);
  }
  void operator()(int more) const { std::exit(code + more); }
};

template <class Target>
void spawn(const Target& target, int argument) {
  multiproc::Process child{{.start_method = multiproc::StartMethod::spawn}, target, argument};
  child.start();
  child.join();
  std::printf("%d ", child.exitcode().value());
}

}  // namespace

void function_with_external_linkage(int code) {
  std::exit(code);
}

int main(int argc, char** argv) {
  multiproc::main_guard(argc, argv);
  spawn(function_with_external_linkage, 1);
  spawn(function_of_this_file, 2);
  spawn(instance_of_a_template<3>, 0);
  spawn(instance_of_a_template<4>, 0);
  spawn([](int code) { std::exit(code); }, 5);
  spawn(Functor{2}, 4);
  spawn(multiproc::copied([seven = 7](int) { std::exit(seven); }), 0);

  const auto code = multiproc::os::locate_code(reinterpret_cast<const void*>(&function_with_external_linkage));
  const bool is_fixed = code->offset == reinterpret_cast<std::uintptr_t>(&function_with_external_linkage);
  std::printf("%s, %s\n", is_fixed ? "fixed" : "anywhere",
              code->build_id.starts_with("code:") ? "no build id" : "build id");
  return 0;
}
