// What every test on a Vulkan device begins and ends with: any device, software included, with the
// validation layer where it is installed; skipped without a device.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <utility>

#include "gui/vulkan/context.h"

namespace layerscope::gui {

class OnDevice : public ::testing::Test {
 protected:
  /// `context_` stays null, and the test is skipped, without a device.
  void SetUp() override {
    ContextOptions options;
    options.validation = true;
    auto context = Context::create(options);
    if (!context.ok()) {
      GTEST_SKIP() << context.error().message;
    }
    context_ = std::move(context).value();
  }
  void TearDown() override {
    if (context_ != nullptr) {
      EXPECT_EQ(context_->validation_errors(), 0U);
    }
  }

  std::unique_ptr<Context> context_;
};

}  // namespace layerscope::gui
