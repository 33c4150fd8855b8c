// SPDX-License-Identifier: MIT
//
// The program around work.cpp, which may lie in a shared library.

int work(int argc, char** argv);

int main(int argc, char** argv) {
  return work(argc, argv);
}
