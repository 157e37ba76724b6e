// How the architectures are written in Hugging Face folders, as data: tensor names and config keys.
//
// A folder is translated into the names and keys of GGUF, which the architecture files read; so an
// architecture is described once. Adding one to folders too means one table row here.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace layerscope::arch {

/// What has to be done to a tensor's bytes besides renaming it.
enum class HfChange : std::uint8_t {
  kNone,
  kAddOne,        ///< Gemma stores w, its norm multiplies by 1 + w
  kTranspose,     ///< GPT-2 stores [in, out]
  kNeoxQkv,       ///< rows ordered head, then Q/K/V; wanted Q/K/V, then head
  kFalconQkv,     ///< rows ordered KV group (its queries, key, value); wanted all Q, all K, all V
  kStackExperts,  ///< one tensor per expert (`{}` in the name); wanted [experts, rows, cols]
  kStackHeads,    ///< one vector per head (`{}` in the name); wanted [heads, head_dim]
};

struct HfTensor {
  std::string_view hf;    ///< without ".weight" or ".bias"; in a layer: after "layers.N."
  std::string_view gguf;  ///< likewise; in a layer: after "blk.N."
  HfChange change = HfChange::kNone;
};

/// What a config key's value becomes.
enum class HfValue : std::uint8_t {
  kAsIs,
  kHeadFraction,  ///< × head size, an even number: rotated dimensions
  kInverseRoot,   ///< 1 / √value: attention scale
};

struct HfKey {
  std::string_view hf;    ///< after "config."; the first of the keys with one `gguf` that is there
  std::string_view gguf;  ///< after "<architecture>."
  HfValue value = HfValue::kAsIs;
};

struct HfArchitecture {
  std::string_view model_type;    ///< config.json's "model_type"
  std::string_view architecture;  ///< GGUF's name
  std::string_view layers;        ///< what stands before a layer's number
  std::span<const HfTensor> model_tensors;
  std::span<const HfTensor> layer_tensors;
  /// GGUF keeps this architecture's Q and K permuted for adjacent rotary pairs, a folder does not.
  bool half_pairing = false;
};

/// Null for a model type that no row describes.
const HfArchitecture* find_hf_architecture(std::string_view model_type);
/// All of them, for a sentence.
std::span<const HfArchitecture> hf_architectures();
/// The keys that all architectures share.
std::span<const HfKey> hf_keys();

}  // namespace layerscope::arch
