// What the tests of pictures made on the GPU share: a generator that draws, and a picture of it on
// the host.
#pragma once

#include <chrono>
#include <optional>
#include <thread>

#include "gui/interop/host_sink.h"
#include "tests/gpu/cuda_generator.h"

namespace layerscope::testing {

using gui::interop::HostSink;
using gui::interop::Picture;

inline session::Generator drawing_generator(std::shared_ptr<const model::Model> model, int context,
                                            bool draw = true) {
  backend::BackendOptions options{"cuda", 1, context};
  options.draw = draw;
  auto backend = backend::create_backend(model, options);
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  session::Generator generator(std::move(model), std::move(backend).value());
  generator.capture.tier = capture::Tier::kAttention;
  return generator;
}

inline void append(session::Generator& generator, int n) {
  for (int i = 0; i < n; ++i) {
    const int id = 3 + (i * 7 + static_cast<int>(generator.ids().size())) % 200;
    ASSERT_TRUE(generator.append(id, capture::Origin::kForced, {}).ok());
  }
}

/// Draws and takes the picture; a busy GPU is asked again.
inline std::optional<Picture> draw(session::Generator& generator, HostSink& sink,
                                   const backend::DrawRequest& request) {
  for (int attempt = 0; attempt < 1000; ++attempt) {
    const auto made = generator.draw(request, 5, sink, {});
    if (!made.ok()) {
      ADD_FAILURE() << made.error().message;
      return std::nullopt;
    }
    if (made.value()) {
      return sink.take(~std::uint64_t{0});
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  ADD_FAILURE() << "no picture";
  return std::nullopt;
}

}  // namespace layerscope::testing
