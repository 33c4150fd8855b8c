// SPDX-License-Identifier: MIT
// expect: compiles

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include <multiproc/process/process.hpp>

// The control of the others: all that must compile, from `spawned` with what travels to fork with what does not.
struct Functor {
  int number;
  void operator()(const std::string&, const char*) const;
};
void by_pointer(int*);
void by_value(std::unique_ptr<int>);

void start(int* pointer, std::function<void()> function) {
  auto spawned = multiproc::Process::spawned({.name = "travels"}, Functor{1}, std::string("text"), "literal");
  multiproc::Process forked{by_pointer, pointer};
  multiproc::Process hidden{{.daemon = true}, function};
  multiproc::Process owning{by_value, std::make_unique<int>(1)};
  multiproc::Process copied{multiproc::copied([pointer] { (void)pointer; })};
  if (spawned.join(std::chrono::seconds(1))) forked = std::move(hidden);
}
