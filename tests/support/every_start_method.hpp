// SPDX-License-Identifier: MIT
//
// support/every_start_method.hpp: one test body, run once for each way a process can be started.
//
//     class ProcessTest : public support::EveryStartMethod {};
//     MULTIPROC_EVERY_START_METHOD(ProcessTest);
//
//     TEST_P(ProcessTest, JoinReturnsWhenTheTargetHas) {
//       Process child{options(), work};
#pragma once

#include <string>
#include <utility>

#include <gtest/gtest.h>

#include <multiproc/process/process.hpp>
#include <multiproc/process/start_method.hpp>

namespace support {

class EveryStartMethod : public testing::TestWithParam<multiproc::StartMethod> {
 protected:
  /// Options that ask for the method of this run.
  static multiproc::ProcessOptions options(multiproc::ProcessOptions others = {}) {
    others.start_method = GetParam();
    return others;
  }
};

inline std::string start_method_name(const testing::TestParamInfo<multiproc::StartMethod>& method) {
  return std::string(multiproc::to_string(method.param));
}

}  // namespace support

#define MULTIPROC_EVERY_START_METHOD(Suite)                                                                    \
  INSTANTIATE_TEST_SUITE_P(                                                                                    \
      EveryStartMethod, Suite,                                                                                 \
      testing::ValuesIn(multiproc::get_all_start_methods().begin(), multiproc::get_all_start_methods().end()), \
      support::start_method_name)
