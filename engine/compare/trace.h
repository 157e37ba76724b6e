// Trace: captured tensors of one run, whoever ran it, as an importer read them.
//
// Names, order and shapes are those of the source; `reading.h` says which tap each tensor is.
// Plain data, owned by one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/base/mapped_file.h"
#include "engine/base/result.h"
#include "engine/diagnose/finding.h"
#include "engine/format/safetensors.h"

namespace layerscope::compare {

/// One tensor of a trace. Text formats show only some values: `known` says which.
struct TraceTensor {
  std::string name;    ///< as its source calls it
  std::string op;      ///< eval-callback text: the operation ("MUL_MAT"), else empty
  std::string source;  ///< its first operand's name, else empty
  std::string source1;
  std::string dtype = "F32";         ///< as the source stored it
  std::vector<std::int64_t> shape;   ///< row-major, slowest dimension first
  int pass = 0;                      ///< index in Trace::passes
  std::vector<float> values;         ///< the known elements, in order; empty when `stored` has them
  std::vector<std::uint64_t> known;  ///< their flat indices, ascending; empty: all are known
  std::optional<format::SafetensorsTensor> stored;  ///< views into one of Trace::files
  std::optional<double> sum;                        ///< over all elements, known or not
  double printed = 0.0;  ///< half a unit of the last printed digit; 0: exact

  [[nodiscard]] std::uint64_t n_elements() const;
};

struct TracePass {
  int first_position = 0;
  int n_tokens = 0;
};

/// What is known about the model behind a trace; 0 or empty: nothing.
struct TraceModel {
  std::string name, architecture, metadata_sha256;
  std::string quantization;  ///< of the weights: "F16", "Q8_0 + F32"
  int n_layers = 0, n_heads = 0, n_kv_heads = 0, head_dim = 0, hidden = 0, ffn = 0;
  double attention_scale = 0.0;
};

/// Texts of the tokens that a trace speaks of, so that it can be read without its model.
struct TraceVocabulary {
  struct Piece {
    std::int32_t id = 0;
    std::string text;  ///< as the model's list has it ("Ġhello", "▁hello", "<0x0A>")
    int type = 1;      ///< tokenizer::TokenType
  };
  std::string kind;  ///< "gpt2" (byte-level BPE) or "llama" (SPM); empty: unknown
  int rows = 0;      ///< of the output head
  std::vector<Piece> pieces;
  /// Rows that no text can produce: first and last of each run.
  std::vector<std::pair<std::int32_t, std::int32_t>> unused;
};

struct Trace {
  std::string path;
  std::string format;  ///< "Layerscope trace", "llama.cpp eval-callback text", …
  TraceModel model;
  std::vector<std::int32_t> ids;  ///< of all positions; empty: the source does not say
  std::size_t n_prompt = 0;       ///< the first ids are the prompt; 0: unknown
  std::vector<TracePass> passes;  ///< at least one after importing
  std::string backend, capture;   ///< own traces
  double unit_roundoff = 0.0;     ///< of the activations; 0: unknown
  std::vector<std::string> faults;
  std::string prompt;                       ///< as it was typed; empty: unknown
  TraceVocabulary vocabulary;               ///< own traces
  std::vector<diagnose::Finding> findings;  ///< what the checks said while it was recorded
  std::vector<TraceTensor> tensors;         ///< in the order of the source
  std::vector<std::string> notes;  ///< what a reader should know: "the text ends in the middle …"
  std::vector<std::shared_ptr<const MappedFile>> files;  ///< what `stored` points into

  [[nodiscard]] int n_positions() const;
};

/// The known elements as float32. Errors: a dtype that is no number.
Result<std::vector<float>> known_values(const TraceTensor& tensor);

/// Tensors of a trace may hold this many elements in all (text) or each (files); beyond, importers
/// refuse.
inline constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 34U;

/// Which elements of a tensor are shown when each dimension longer than 2·n shows its first and
/// last n: flat indices, ascending. Shape row-major. Error: more elements than can be counted.
Result<std::vector<std::uint64_t>> shown_indices(const std::vector<std::int64_t>& shape, int n);

/// Π shape. Error: negative dimensions, or beyond kMaxElements.
Result<std::uint64_t> count_elements(const std::vector<std::int64_t>& shape);

}  // namespace layerscope::compare
