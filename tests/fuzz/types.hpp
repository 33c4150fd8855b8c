// SPDX-License-Identifier: MIT
//
// fuzz/types.hpp: types of every way of encoding, by number, for the targets and for their seeds.
#pragma once

#include <array>
#include <bitset>
#include <chrono>
#include <complex>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

namespace fuzz {

struct Point {
  double x = 0;
  int32_t y = 0;
};

struct Job {
  std::string name;
  std::vector<Point> points;
  std::map<std::string, std::optional<int>> counts;
  bool urgent = false;
};

struct Tree {
  int value = 0;
  std::vector<std::unique_ptr<Tree>> children;
};

class Account {
 public:
  Account() = default;
  Account(std::string owner, double amount) : owner_(std::move(owner)), amount_(amount) {}
  template <class Archive>
  void serialize(Archive& archive) {
    archive(owner_, amount_, history_);
  }

 private:
  std::string owner_;
  double amount_ = 0;
  std::vector<std::string> history_;
};

enum class Colour : std::uint8_t { red, green };

template <class... Ts>
struct List {};

using All =
    List<int, bool, std::string, std::u16string, std::vector<int>, std::vector<std::string>, std::vector<bool>,
         std::bitset<77>, std::set<std::string>, std::map<int, std::vector<double>>,
         std::unordered_map<std::string, Colour>, std::pair<std::string, Point>, std::tuple<char, long, std::string>,
         std::optional<std::vector<int>>, std::variant<int, std::string, Point>, std::unique_ptr<std::string>,
         std::filesystem::path, std::chrono::milliseconds, std::complex<float>, std::array<std::string, 3>,
         std::deque<Job>, Job, Tree, Account, std::vector<std::vector<std::vector<std::uint8_t>>>>;

/// Calls `f.template operator()<T>()` for the `index`-th type.
template <class F, class... Ts>
void with_type(List<Ts...>, std::size_t index, F f) {
  std::size_t at = 0;
  ((at++ == index % sizeof...(Ts) ? f.template operator()<Ts>() : void()), ...);
}
template <class... Ts>
constexpr std::size_t count_of(List<Ts...>) {
  return sizeof...(Ts);
}

}  // namespace fuzz
