// Generators on the CUDA backend, and what their tests share.
#pragma once

#include <cmath>
#include <span>

#include "tests/support/architectures.h"
#include "tests/support/fixtures.h"

namespace layerscope::testing {

/// Why the CUDA backend cannot run; empty when it can.
inline std::string no_cuda() {
  for (const backend::DeviceInfo& device : backend::list_devices(1)) {
    if (device.backend == "cuda") {
      return device.usable ? std::string() : device.reason;
    }
  }
  return "no CUDA backend";
}
#define LS_NEEDS_CUDA()                                                         \
  if (const std::string why = ::layerscope::testing::no_cuda(); !why.empty()) { \
    GTEST_SKIP() << "needs a GPU: " << why;                                     \
  }

inline session::Generator cuda_generator(std::shared_ptr<const model::Model> model, int context,
                                         bool float32, bool overlap = true) {
  backend::BackendOptions options{"cuda", 1, context};
  options.float32 = float32;
  options.overlap = overlap;
  auto backend = backend::create_backend(model, options);
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  return session::Generator(std::move(model), std::move(backend).value());
}

/// Up to n most likely tokens one after another; ends at an end token where `stop_at_end`.
inline std::vector<std::int32_t> greedy(session::Generator& generator, std::size_t n,
                                        bool stop_at_end = true) {
  generator.sampler_settings.temperature = 0.0F;
  std::vector<std::int32_t> out;
  while (out.size() < n) {
    const auto id = generator.choose();
    if (!id.ok()) {
      ADD_FAILURE() << id.error().message;
      break;
    }
    out.push_back(id.value());
    if (stop_at_end && generator.model().tokenizer->is_end(id.value())) {
      break;
    }
    const Status status = generator.append(id.value(), capture::Origin::kSampled, {});
    if (!status.ok()) {
      ADD_FAILURE() << status.error().message;
      break;
    }
  }
  return out;
}

}  // namespace layerscope::testing
