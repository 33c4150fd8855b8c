// SPDX-License-Identifier: MIT
//
// How often does each word occur? Each process counts a part of the text, and all of them count in one map. The text is
// there once, and read-only.
#include <multiproc/multiproc.hpp>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>

namespace mp = multiproc;
using Text = mp::SharedConst<std::string>;
using Counts = mp::shared_map<std::string, int>;

constexpr const char* kRhyme =
    "How much wood would a woodchuck chuck if a woodchuck could chuck wood? He would chuck, he would, as much as he "
    "could, and chuck as much wood as a woodchuck would if a woodchuck could chuck wood.";

bool is_letter(char c) {
  return std::isalpha(static_cast<unsigned char>(c)) != 0;
}

// The words that begin in part `mine` of the text; the last of them may end behind it.
void count_words(const Text& text, Counts counts, std::size_t mine, std::size_t parts) {
  const std::size_t end = text.size() * (mine + 1) / parts;
  for (std::size_t i = text.size() * mine / parts; i < end; ++i) {
    if (!is_letter(text[i]) || (i > 0 && is_letter(text[i - 1]))) continue;
    std::string word;
    for (std::size_t at = i; at < text.size() && is_letter(text[at]); ++at) {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(text[at])));
    }
    counts.with(word, [](int& times) { ++times; });
  }
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("can't read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

int main(int argc, char** argv) try {
  mp::main_guard(argc, argv);

  std::string path, method = "fork";
  std::size_t workers = mp::cpu_count(), shown = 5;
  CLI::App app{"The words of a text, by how often they occur"};
  app.add_option("file", path, "the text; without one, a rhyme");
  app.add_option("-w,--workers", workers, "processes that count")->check(CLI::Range(1, 1024));
  app.add_option("-n,--shown", shown, "how many words to print");
  app.add_option("--start-method", method, "how the processes are made")->check(CLI::IsMember({"fork", "spawn"}));
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  mp::set_start_method(method == "fork" ? mp::StartMethod::fork : mp::StartMethod::spawn);

  const Text text(path.empty() ? std::string(kRhyme) : read_file(path));
  const Counts counts;
  std::vector<mp::Process> processes;
  for (std::size_t i = 0; i < workers; ++i) processes.emplace_back(count_words, text, counts, i, workers);
  for (mp::Process& process : processes) process.start();
  for (mp::Process& process : processes) process.join();

  std::vector<std::pair<int, std::string>> by_count;
  counts.for_each([&](std::string_view word, int times) { by_count.emplace_back(-times, word); });
  std::sort(by_count.begin(), by_count.end());
  mp::println("{} words", by_count.size());
  by_count.resize(std::min(shown, by_count.size()));
  for (const auto& [times, word] : by_count) mp::println("{:>6} {}", -times, word);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
