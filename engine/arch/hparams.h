// Reading hyper-parameters: presence, type and plausible range, each with a sentence.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "engine/base/result.h"
#include "engine/format/model_file.h"
#include "engine/model/decoder_spec.h"

namespace layerscope::arch {

class HparamReader {
 public:
  HparamReader(const format::ModelFile& file, std::string prefix)
      : file_(file), prefix_(std::move(prefix)) {}

  /// The integer `<prefix>.<key>` within [lo, hi]. Absent: an error.
  Result<int> require_int(const std::string& key, std::int64_t lo, std::int64_t hi) const;
  Result<int> int_or(const std::string& key, std::int64_t lo, std::int64_t hi, int fallback) const;
  /// A finite float within (lo, hi).
  Result<double> require_float(const std::string& key, double lo, double hi) const;
  Result<double> float_or(const std::string& key, double lo, double hi, double fallback) const;
  Result<bool> bool_or(const std::string& key, bool fallback) const;

  [[nodiscard]] std::string full(const std::string& key) const { return prefix_ + "." + key; }
  [[nodiscard]] const format::ModelFile& file() const { return file_; }

 private:
  const format::ModelFile& file_;
  std::string prefix_;
};

/// The hyper-parameters that all decoders share, from `<architecture>.*`: sizes, heads, epsilon of
/// the given kind of norm, RoPE with its scaling, and which tensors are fused. Refuses what the
/// engine does not implement (ALiBi, clamped Q, K, V, unknown RoPE scaling) instead of ignoring it.
Result<model::DecoderSpec> read_common_spec(const format::ModelFile& file,
                                            const std::string& architecture,
                                            model::NormKind norm = model::NormKind::kRms);

/// `attention.sliding_window` and which layers have it: the file's pattern (one flag per layer, or
/// a period whose last layer sees everything) where it has one, else `windowed(layer)`.
Status read_window(const format::ModelFile& file, model::DecoderSpec& spec,
                   const std::function<bool(int)>& windowed);

/// Expert count, how many are used, and their width, where `expert_count` is not 0.
Status read_experts(const format::ModelFile& file, model::DecoderSpec& spec);

/// Soft-caps of scores and logits, where the file has them.
Status read_soft_caps(const format::ModelFile& file, model::DecoderSpec& spec);

}  // namespace layerscope::arch
