// Reading hyper-parameters: presence, type and plausible range, each with a sentence.
#pragma once

#include <cstdint>
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

  [[nodiscard]] std::string full(const std::string& key) const { return prefix_ + "." + key; }
  [[nodiscard]] const format::ModelFile& file() const { return file_; }

 private:
  const format::ModelFile& file_;
  std::string prefix_;
};

/// The hyper-parameters that all Llama-like decoders share, from `<architecture>.*`. Refuses what
/// the engine does not implement (experts, sliding windows, unknown RoPE scaling) instead of
/// ignoring it.
Result<model::DecoderSpec> read_common_spec(const format::ModelFile& file,
                                            const std::string& architecture);

}  // namespace layerscope::arch
