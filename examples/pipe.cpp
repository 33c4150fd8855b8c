// SPDX-License-Identifier: MIT
//
// Two ends of a pipe: values go one way, results come back, and so does the news that there will be no more.
#include <multiproc/multiproc.hpp>

#include <string>
#include <utility>
#include <vector>

namespace mp = multiproc;

struct Order {
  std::string item;
  std::vector<double> prices;
};

void add_up(const mp::Connection& shop) {
  try {
    while (true) {
      const auto order = shop.recv<Order>();
      double sum = 0;
      for (const double price : order.prices) sum += price;
      shop.send(std::make_pair(order.item, sum));
    }
  } catch (const mp::EndOfStream&) {
    mp::println("no more orders");
  }
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);

  auto [ours, theirs] = mp::Pipe();
  mp::Process clerk{add_up, std::move(theirs)};  // start() gives the end to the child; nobody here keeps it
  clerk.start();

  ours.send(Order{"tea", {3.50, 2.25}});
  ours.send(Order{"books", {12, 8, 20}});
  for (int i = 0; i < 2; ++i) {
    const auto [item, sum] = ours.recv<std::pair<std::string, double>>();
    mp::println("{}: {:.2f}", item, sum);
  }
  try {
    ours.send(Order{"ink", {1}});
    (void)ours.recv<int>();
  } catch (const mp::TypeMismatch& other) {
    mp::println("not an int: {} costs {}", other.get<std::pair<std::string, double>>().first,
                other.get<std::pair<std::string, double>>().second);
  }

  ours.close();
  clerk.join();
}
