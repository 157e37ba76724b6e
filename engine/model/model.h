// Model: file, tokenizer, spec and weights of a loaded model. Immutable, shared between threads.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/model/decoder_spec.h"
#include "engine/model/weights.h"
#include "engine/tokenizer/tokenizer.h"

namespace layerscope::model {

struct Model {
  std::shared_ptr<const format::ModelFile> file;
  std::shared_ptr<const tokenizer::Tokenizer> tokenizer;
  DecoderSpec spec;
  Weights weights;
  /// What the matrices of an edited copy point into (interventions.h); empty for a file as it is.
  std::vector<std::shared_ptr<const std::vector<std::byte>>> edited;

  [[nodiscard]] std::string name() const;  ///< general.name, else the file's stem
  [[nodiscard]] std::string quantization()
      const;  ///< types of the matrices by bytes: "F16", "Q8_0 + F32"
  [[nodiscard]] std::uint64_t n_params() const;
  [[nodiscard]] std::uint64_t weight_bytes() const;
  /// usable[row]: text can produce it. False for padded rows of the embedding.
  [[nodiscard]] std::vector<bool> usable_rows() const;
};

/// Reads, checks and binds a model, then touches its pages so that the first token does not wait
/// for the disk. `progress` gets 0…1 on the calling thread; `stop` is polled throughout
/// (kCancelled).
Result<std::shared_ptr<const Model>> load_model(const std::string& path, std::stop_token stop = {},
                                                const std::function<void(double)>& progress = {});

}  // namespace layerscope::model
