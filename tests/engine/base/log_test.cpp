#include "engine/base/log.h"

#include <gtest/gtest.h>

namespace layerscope {
namespace {

TEST(Log, Lines_AreKeptForTheWindow) {
  ASSERT_TRUE(log::init("off").ok());
  spdlog::warn("first");
  for (int i = 0; i < 600; ++i) {
    spdlog::info("line {}", i);
  }
  const auto lines = log::recent();
  ASSERT_EQ(lines.size(), 512U);
  EXPECT_NE(lines.back().text.find("line 599"), std::string::npos);
  EXPECT_EQ(lines.back().level, spdlog::level::info);
  EXPECT_NE(lines.back().text.back(), '\n');
}

TEST(Log, UnknownLevel_IsAUsageError) {
  const auto status = log::init("loud");
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.error().code, ErrorCode::kUsage);
  EXPECT_NE(status.error().message.find("'loud'"), std::string::npos);
}

}  // namespace
}  // namespace layerscope
