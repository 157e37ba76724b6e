// The models of every architecture that tests can find: goldens of the repository and of
// LS_SHARED_DIR (llama.cpp's results), and the tiny ones (transformers' results).
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/support/fixtures.h"

namespace layerscope::testing {

inline std::string shared_dir() {
  const char* dir = std::getenv("LS_SHARED_DIR");
  return dir != nullptr ? dir : "../shared";
}

/// A golden's file: the repository's copy, else the shared one.
inline std::string any_golden(const std::string& model, const std::string& file) {
  const std::string own = golden(model, file);
  return std::filesystem::exists(own) ? own : shared_dir() + "/golden/" + model + "/" + file;
}

/// A tiny model's file: what transformers computed (tests/golden/tiny/generate.py).
inline std::string tiny(const std::string& model, const std::string& file) {
  return source_dir() + "/tests/golden/tiny/" + model + "/" + file;
}

inline std::vector<std::string> folders_of(const std::string& path) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(path, ignored)) {
    if (std::filesystem::exists(entry.path() / "model.gguf")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

inline std::vector<std::string> tiny_models() {
  return folders_of(source_dir() + "/tests/golden/tiny");
}

/// Every golden that is here, by name.
inline std::vector<std::string> golden_models() {
  std::vector<std::string> names = folders_of(source_dir() + "/tests/golden/models");
  for (const std::string& name : folders_of(shared_dir() + "/golden")) {
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// The name of a type that the file holds and that cannot be computed with; empty: all can.
inline std::string undecodable_type(const std::string& path) {
  const auto file = format::read_model_file(path);
  EXPECT_TRUE(file.ok()) << path;
  for (const format::TensorInfo& tensor : file.value()->tensors) {
    if (!dtype_info(tensor.dtype).decodable) {
      return std::string(dtype_info(tensor.dtype).name);
    }
  }
  return {};
}

/// What transformers computed for a tiny model.
struct TinyReference {
  std::vector<std::int32_t> prompt, prompt_short, greedy;
  std::map<std::string, std::vector<float>> blocks;
};

inline TinyReference tiny_reference(const std::string& model) {
  const nlohmann::json json = read_json(tiny(model, "reference.json"));
  const std::vector<float> values = read_floats(tiny(model, "reference.f32"));
  TinyReference reference{json.at("prompt"), json.at("prompt_short"), json.at("greedy"), {}};
  std::size_t at = 0;
  for (const auto& block : json.at("blocks")) {
    std::size_t n = 1;
    for (const std::size_t dim : block.at("shape")) {
      n *= dim;
    }
    EXPECT_LE(at + n, values.size());
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(at);
    reference.blocks[block.at("name")].assign(begin, begin + static_cast<std::ptrdiff_t>(n));
    at += n;
  }
  EXPECT_EQ(at, values.size());
  return reference;
}

inline double largest_difference(std::span<const float> a, std::span<const float> b) {
  EXPECT_EQ(a.size(), b.size());
  double largest = 0.0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    const double e = std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    largest = e <= largest ? largest : e;  // a NaN stays
  }
  return largest;
}

}  // namespace layerscope::testing
