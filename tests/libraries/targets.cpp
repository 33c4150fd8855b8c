// SPDX-License-Identifier: MIT

#include "libraries/targets.hpp"

#include <cstdlib>

namespace test_library {

namespace {

int calls = 0;

void exit_with_one_more(int code) {
  std::exit(code + 1);
}

}  // namespace

void exit_with(int code) {
  ++calls;
  std::exit(count_calls(code) - 1);
}

Target hidden_function() {
  return exit_with_one_more;
}

Target lambda() {
  return [](int code) { std::exit(code + 2); };
}

int count_calls(int more) {
  return calls + more;
}

}  // namespace test_library

void test_library_exit_with(int code) {
  test_library::exit_with(code);
}

test_library::Target test_library_lambda() {
  return test_library::lambda();
}
