// Sample sessions for view and panel tests: random but reproducible snapshots, and a small
// tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "engine/session/snapshot.h"

namespace layerscope::gui::sample {

/// Tokens given as bytes; "<…>" become control tokens, "" unused rows.
class WordTokenizer final : public tokenizer::Tokenizer {
 public:
  explicit WordTokenizer(const std::vector<std::string>& words);
  [[nodiscard]] tokenizer::Encoding encode(std::string_view text,
                                           const tokenizer::EncodeOptions& options) const override;
  [[nodiscard]] std::int32_t find(std::string_view piece) const override;
};

/// 64 tokens: control, newline, words with and without a leading space, one broken byte, one emoji.
std::shared_ptr<const tokenizer::Tokenizer> tokenizer();

struct Shape {
  int layers = 3;
  int heads = 2;
  int prompt = 4;
};

/// A session under construction. Serials are unique over its life, as the engine's are.
class Builder {
 public:
  explicit Builder(Shape shape, std::uint32_t seed = 1);
  /// Appends random frames up to `n` positions.
  Builder& grow_to(int n);
  /// Keeps `n` positions.
  Builder& cut_to(int n);
  /// Starts a new prompt.
  Builder& restart();
  /// Replaces a frame by a changed copy (same serial).
  template <typename Change>
  Builder& change(int position, Change edit) {
    auto copy = std::make_shared<capture::TokenFrame>(*frames_[static_cast<std::size_t>(position)]);
    edit(*copy);
    frames_[static_cast<std::size_t>(position)] = std::move(copy);
    return *this;
  }
  Builder& drop_attention(int position);
  [[nodiscard]] std::shared_ptr<session::Snapshot> build();

 private:
  [[nodiscard]] std::shared_ptr<const capture::TokenFrame> make_frame(int position);

  Shape shape_;
  std::mt19937 random_;
  std::vector<std::shared_ptr<const capture::TokenFrame>> frames_;
  std::vector<std::int32_t> prompt_ids_;
  std::shared_ptr<const session::ModelInfo> model_;
  std::uint64_t serial_ = 0;
  std::uint64_t session_serial_ = 1;
  std::uint64_t version_ = 0;
};

/// A model file in memory with a few metadata entries and two F32 tensors (owned by the result).
std::shared_ptr<const format::ModelFile> model_file();

}  // namespace layerscope::gui::sample
