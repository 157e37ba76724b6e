#include "engine/base/result.h"

#include <gtest/gtest.h>

#include <memory>

namespace layerscope {
namespace {

Result<std::unique_ptr<int>> make(bool good) {
  if (!good) {
    return invalid_input("no number");
  }
  return std::make_unique<int>(7);
}

Status check(bool good) {
  LS_TRY(const std::unique_ptr<int> number, make(good));
  return *number == 7 ? Status() : internal_error("wrong number");
}

Result<int> chain(bool good) {
  LS_CHECK(check(good));
  return 1;
}

TEST(Result, ValueOrError_TravelsUp) {
  EXPECT_TRUE(chain(true).ok());
  EXPECT_EQ(chain(true).value(), 1);
  const auto failed = chain(false);
  ASSERT_FALSE(failed.ok());
  EXPECT_EQ(failed.error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(failed.error().with_context("'f'").message, "'f': no number");
}

TEST(Result, ExitCodes_AreThoseOfTheInterface) {
  EXPECT_EQ(exit_code(ErrorCode::kInternal), 1);
  EXPECT_EQ(exit_code(ErrorCode::kUsage), 2);
  EXPECT_EQ(exit_code(ErrorCode::kInvalidInput), 3);
  EXPECT_EQ(exit_code(ErrorCode::kDevice), 4);
  EXPECT_EQ(exit_code(ErrorCode::kAnomaly), 5);
  EXPECT_EQ(exit_code(ErrorCode::kCancelled), 1);
}

}  // namespace
}  // namespace layerscope
