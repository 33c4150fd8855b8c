// SPDX-License-Identifier: MIT
//
// What can be sent to a spawned process, which shares no memory with this one: values of nearly any shape, and
// callables that are no more than code. What can't is refused, with a sentence that says what to do.
#include <multiproc/multiproc.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mp = multiproc;

struct Order {  // an aggregate is looked into: nothing to write
  std::string customer;
  std::vector<double> prices;
  std::optional<int> discount;
};

void invoice(const Order& order, const std::map<std::string, std::string>& titles) {
  double sum = 0;
  for (const double price : order.prices) sum += price;
  if (order.discount) sum *= (100.0 - *order.discount) / 100.0;
  mp::println("{} {}: {:.2f}", titles.at("en"), order.customer, sum);
}

int main(int argc, char** argv) {
  mp::main_guard(argc, argv);
  mp::set_start_method(mp::StartMethod::spawn);

  mp::Process billing{invoice, Order{"Ada", {10, 20, 30}, 10},
                      std::map<std::string, std::string>{{"en", "Invoice for"}}};
  billing.start();
  billing.join();

  const int factor = 6;
  mp::Process product{mp::copied([factor](int n) { mp::println("{} x {} = {}", factor, n, factor * n); }), 7};
  product.start();
  product.join();

  int local = 0;
  mp::Process wrong{[&local] { ++local; }};  // a reference would point to nowhere over there
  try {
    wrong.start();
  } catch (const mp::NotSendable& refusal) {
    mp::println("{}", refusal.what());
  }
}
