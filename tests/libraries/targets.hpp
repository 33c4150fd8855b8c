// SPDX-License-Identifier: MIT
//
// libraries/targets.hpp: functions in a shared library, to be run in other processes. Built twice: as a library that a
// test is linked with, and as one that it loads.
#pragma once

namespace test_library {

using Target = void (*)(int);

void exit_with(int code);

/// A function and a captureless lambda that only the library itself can name.
Target hidden_function();
Target lambda();

/// How often exit_with was called in this process, plus `more`: a library's own data is the child's own.
int count_calls(int more);

}  // namespace test_library

extern "C" void test_library_exit_with(int code);
extern "C" test_library::Target test_library_lambda();
