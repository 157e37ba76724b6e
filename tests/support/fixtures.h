// Where tests find their material, and how they load it.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/backend/backend.h"
#include "engine/model/model.h"
#include "engine/session/generator.h"

namespace layerscope::testing {

inline std::string source_dir() {
  const char* dir = std::getenv("LS_SOURCE_DIR");
  return dir != nullptr ? dir : ".";
}

/// A golden model's file: what an independent implementation computed for a tiny random model.
inline std::string golden(const std::string& model, const std::string& file) {
  return source_dir() + "/tests/golden/models/" + model + "/" + file;
}

/// The demo model, found by its extension so that its name stands in one place only.
inline std::string demo_model() {
  for (const auto& entry : std::filesystem::directory_iterator(source_dir() + "/assets/demo")) {
    if (entry.path().extension() == ".gguf") {
      return entry.path().string();
    }
  }
  return {};
}

inline std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline nlohmann::json read_json(const std::string& path) {
  return nlohmann::json::parse(read_text(path));
}

inline std::vector<float> read_floats(const std::string& path) {
  const std::string bytes = read_text(path);
  std::vector<float> values(bytes.size() / sizeof(float));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(values.data()));
  return values;
}

inline std::shared_ptr<const model::Model> load(const std::string& path) {
  auto model = model::load_model(path);
  EXPECT_TRUE(model.ok()) << model.error().message;
  return model.ok() ? std::move(model).value() : nullptr;
}

inline session::Generator make_generator(std::shared_ptr<const model::Model> model, int context,
                                         int threads = 2) {
  auto backend = backend::create_backend(model, {"cpu", threads, context});
  EXPECT_TRUE(backend.ok()) << backend.error().message;
  return session::Generator(std::move(model), std::move(backend).value());
}

}  // namespace layerscope::testing
