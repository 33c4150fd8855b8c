// SPDX-License-Identifier: MIT
//
// Three processes draw a triangle, each a third of every line. A line is made of the line above, so that none may be
// ahead of the others: a barrier keeps them in step. An event starts them all at once.
#include <multiproc/multiproc.hpp>

#include <cstddef>
#include <string_view>
#include <utility>
#include <vector>

namespace mp = multiproc;

constexpr std::size_t kWidth = 33;
constexpr int kLines = 16;
constexpr std::size_t kDrawers = 3;

void draw(const mp::Event& go, const mp::Barrier& line_done, mp::Array<char> above, mp::Array<char> below,
          std::size_t mine) {
  go.wait();
  for (int line = 0; line < kLines; ++line) {
    // Each has another number: one of them prints. What it reads, nobody writes to before all have come again.
    if (line_done.wait() == 0) mp::println("{}", std::string_view(above.data(), kWidth));
    for (std::size_t i = kWidth * mine / kDrawers; i < kWidth * (mine + 1) / kDrawers; ++i) {
      const bool left = i > 0 && above[i - 1] == '*';
      const bool right = i + 1 < kWidth && above[i + 1] == '*';
      below[i] = left != right ? '*' : ' ';
    }
    std::swap(above, below);  // handles: no character moves
  }
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  for (const mp::StartMethod method : mp::get_all_start_methods()) {
    mp::set_start_method(method);
    mp::Event go;
    mp::Barrier line_done{kDrawers};
    mp::Array<char> above(kWidth);
    mp::Array<char> below(kWidth);
    above.fill(' ');
    above[kWidth / 2] = '*';

    std::vector<mp::Process> drawers;
    for (std::size_t i = 0; i < kDrawers; ++i) drawers.emplace_back(draw, go, line_done, above, below, i);
    for (mp::Process& drawer : drawers) drawer.start();
    mp::println("by {}", to_string(method));
    go.set();
    for (mp::Process& drawer : drawers) drawer.join();
  }
}
