// SPDX-License-Identifier: MIT

#include "os/fault.hpp"

#include <cerrno>

#include <gtest/gtest.h>

#include "support/in_child.hpp"

namespace {

namespace fault = multiproc::os::fault;

class FaultTest : public testing::Test {
 protected:
  void TearDown() override { fault::disarm(); }
};

TEST_F(FaultTest, NobodyArmedNothingRefuses) {
  EXPECT_EQ(fault::injected("read"), 0);
  EXPECT_EQ(fault::seen("read"), 0);
}

TEST_F(FaultTest, RefusesTheNthCallOfThatNameAlone) {
  fault::arm("read", EIO, 3);

  EXPECT_EQ(fault::injected("read"), 0);
  EXPECT_EQ(fault::injected("write"), 0);
  EXPECT_EQ(fault::injected("read"), 0);
  EXPECT_EQ(fault::injected("read"), EIO);
  EXPECT_EQ(fault::injected("read"), 0);
  EXPECT_EQ(fault::seen("read"), 4);
}

TEST_F(FaultTest, RefusesAsManyCallsAsAsked) {
  fault::arm("read", EINTR, 2, 2);

  EXPECT_EQ(fault::injected("read"), 0);
  EXPECT_EQ(fault::injected("read"), EINTR);
  EXPECT_EQ(fault::injected("read"), EINTR);
  EXPECT_EQ(fault::injected("read"), 0);
}

TEST_F(FaultTest, RulesStandSideBySide) {
  fault::arm("read", EIO);
  fault::arm("write", ENOSPC);

  EXPECT_EQ(fault::injected("write"), ENOSPC);
  EXPECT_EQ(fault::injected("read"), EIO);
}

TEST_F(FaultTest, DisarmForgetsRulesAndCounts) {
  fault::arm("read", EIO, 1, 100);
  ASSERT_EQ(fault::injected("read"), EIO);

  fault::disarm();

  EXPECT_EQ(fault::injected("read"), 0);
  EXPECT_EQ(fault::seen("read"), 0);
  fault::arm("read", EIO, 2);
  EXPECT_EQ(fault::injected("read"), 0) << "the count began anew";
}

TEST_F(FaultTest, ForkedChildrenInheritWhatIsArmed) {
  fault::arm("read", EIO);

  EXPECT_EQ(support::in_child([] { return fault::injected("read"); }).status, EIO);
  EXPECT_EQ(fault::injected("read"), EIO) << "the child's calls are not ours";
}

}  // namespace
