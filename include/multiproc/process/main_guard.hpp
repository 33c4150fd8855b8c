// SPDX-License-Identifier: MIT
//
// multiproc/process/main_guard.hpp: the line that main() starts with, C++'s `if __name__ == "__main__":`.
//
//     int main(int argc, char** argv) {
//       multiproc::main_guard(argc, argv);
//       ...
//
// A spawned child is a fresh run of the same program. What stands before main_guard(), static constructors and their
// output included, runs once in every such child; what stands after it runs in the real main alone.
//
// What stands before it may fork and execute as it likes. A process that it forks in a spawned child keeps a copy of
// the socket of that child's start, of which it can make nothing: parent and child wait for each other, not for it.
// What it executes sees neither the socket nor that it stands below a start.
#pragma once

namespace multiproc {

/// In the real main: remembers the arguments and returns. In a spawned child: runs its target and ends the process
/// with std::exit(), so that handlers and static objects of the child end properly. Call it from the main thread,
/// before the first start(); a second call does nothing.
///
/// Gives SIGPIPE a handler where it is at its default: print() then meets a reader that is gone at no extra cost. For
/// everything else it does what the default does, and executed programs don't inherit it.
///
/// Without main_guard() no process can be spawned: start() throws MainGuardMissing, which shows the line to add.
void main_guard(int argc, char** argv);

}  // namespace multiproc
