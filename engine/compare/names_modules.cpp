// Names of PyTorch modules, and free names that hold a tap's name and a layer's number.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <vector>

#include "engine/compare/names.h"

namespace layerscope::compare {
namespace {

using capture::Tap;

/// Where in a module a tensor stands.
enum class Side : std::uint8_t { kIn, kOut };

struct Row {
  const char* name;  ///< the path below the layer, or below the model
  Side side;
  Tap tap;
};

/// Llama-like models (Llama, Qwen, Phi, Gemma, …) and GPT-2, as transformers names them.
constexpr Row kLayerRows[] = {
    {"input_layernorm", Side::kOut, Tap::kAttnNorm},
    {"ln_1", Side::kOut, Tap::kAttnNorm},
    {"self_attn.q_proj", Side::kOut, Tap::kQ},
    {"self_attn.q_norm", Side::kOut, Tap::kQ},
    {"self_attn.k_proj", Side::kOut, Tap::kK},
    {"self_attn.k_norm", Side::kOut, Tap::kK},
    {"self_attn.v_proj", Side::kOut, Tap::kV},
    {"self_attn.o_proj", Side::kIn, Tap::kAttnContext},
    {"self_attn.o_proj", Side::kOut, Tap::kAttnOut},
    {"attn.c_proj", Side::kIn, Tap::kAttnContext},
    {"attn.c_proj", Side::kOut, Tap::kAttnOut},
    {"post_attention_layernorm", Side::kIn, Tap::kResidMid},
    {"post_attention_layernorm", Side::kOut, Tap::kFfnNorm},
    {"ln_2", Side::kIn, Tap::kResidMid},
    {"ln_2", Side::kOut, Tap::kFfnNorm},
    {"mlp.gate_proj", Side::kOut, Tap::kFfnGate},
    {"mlp.up_proj", Side::kOut, Tap::kFfnUp},
    {"mlp.down_proj", Side::kIn, Tap::kFfnAct},
    {"mlp.down_proj", Side::kOut, Tap::kFfnOut},
    {"mlp.c_fc", Side::kOut, Tap::kFfnUp},
    {"mlp.c_proj", Side::kIn, Tap::kFfnAct},
    {"mlp.c_proj", Side::kOut, Tap::kFfnOut},
    {"", Side::kOut, Tap::kResidOut},
};
constexpr Row kModelRows[] = {
    {"embed_tokens", Side::kOut, Tap::kEmbedding}, {"wte", Side::kOut, Tap::kEmbedding},
    {"norm", Side::kOut, Tap::kFinalNorm},         {"ln_f", Side::kOut, Tap::kFinalNorm},
    {"lm_head", Side::kOut, Tap::kLogits},
};

/// Other words for our taps, for names that people make up.
struct Synonym {
  const char* word;
  Tap tap;
};
constexpr Synonym kSynonyms[] = {
    {"embeddings", Tap::kEmbedding},
    {"embd", Tap::kEmbedding},
    {"input_norm", Tap::kAttnNorm},
    {"attention_norm", Tap::kAttnNorm},
    {"q_proj", Tap::kQ},
    {"k_proj", Tap::kK},
    {"v_proj", Tap::kV},
    {"query", Tap::kQ},
    {"key", Tap::kK},
    {"value", Tap::kV},
    {"q_rot", Tap::kQRope},
    {"k_rot", Tap::kKRope},
    {"scores", Tap::kAttnScores},
    {"attn_probs", Tap::kAttnWeights},
    {"attention_weights", Tap::kAttnWeights},
    {"attn_output", Tap::kAttnOut},
    {"o_proj", Tap::kAttnOut},
    {"gate_proj", Tap::kFfnGate},
    {"up_proj", Tap::kFfnUp},
    {"down_proj", Tap::kFfnOut},
    {"mlp_out", Tap::kFfnOut},
    {"layer_out", Tap::kResidOut},
    {"hidden", Tap::kResidOut},
    {"output_norm", Tap::kFinalNorm},
    {"norm_final", Tap::kFinalNorm},
    {"lm_head", Tap::kLogits},
    {"output", Tap::kLogits},
};

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    text = at == std::string_view::npos ? std::string_view() : text.substr(at + 1);
  }
  return parts;
}

int whole_number(std::string_view text) {
  int value = -1;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return !text.empty() && read.ec == std::errc() && read.ptr == text.data() + text.size() ? value
                                                                                          : -1;
}

/// Takes ".inputs" / ".outputs" and the like off the end.
Side take_side(std::string_view& name) {
  for (const char* end : {".inputs", ".input", ".in"}) {
    if (name.ends_with(end)) {
      name.remove_suffix(std::string_view(end).size());
      return Side::kIn;
    }
  }
  for (const char* end : {".outputs", ".output", ".out"}) {
    if (name.ends_with(end)) {
      name.remove_suffix(std::string_view(end).size());
      break;
    }
  }
  return Side::kOut;
}

/// "model.layers.3.mlp" → 3 and "mlp"; layer −1 and the last part for others.
std::string_view below_layer(std::string_view name, int& layer) {
  for (const char* list : {"layers.", "h.", "blocks.", "blk."}) {
    const std::size_t at = name.find(list);
    if (at == std::string_view::npos || (at > 0 && name[at - 1] != '.')) {
      continue;
    }
    const std::string_view rest = name.substr(at + std::string_view(list).size());
    const std::size_t dot = rest.find('.');
    layer = whole_number(rest.substr(0, dot));
    if (layer >= 0) {
      return dot == std::string_view::npos ? std::string_view() : rest.substr(dot + 1);
    }
  }
  layer = -1;
  const std::size_t last = name.rfind('.');
  return last == std::string_view::npos ? name : name.substr(last + 1);
}

Meaning by_table(std::string_view name) {
  Meaning meaning;
  const Side side = take_side(name);
  const std::string_view rest = below_layer(name, meaning.layer);
  if (rest == "self_attn.qkv_proj" || rest == "attn.c_attn") {
    meaning.fused = side == Side::kOut ? Fused::kQkv : Fused::kNone;
  } else if (rest == "mlp.gate_up_proj") {
    meaning.fused = side == Side::kOut ? Fused::kGateUp : Fused::kNone;
  }
  const auto find = [&](const auto& rows) {
    for (const Row& row : rows) {
      if (rest == row.name && side == row.side) {
        meaning.tap = row.tap;
      }
    }
  };
  if (meaning.layer >= 0) {
    find(kLayerRows);
  } else {
    find(kModelRows);
  }
  return meaning;
}

/// Words of a free name, with layer numbers taken out: "layer_3_q_proj" → 3, "q_proj".
Meaning by_words(std::string_view name) {
  Meaning meaning;
  std::string lower(name);
  for (char& c : lower) {
    const bool separator =
        c == '.' || c == '-' || c == '/' || c == ' ' || c == ':' || c == '[' || c == ']';
    c = separator ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  std::string rest;
  for (const std::string_view part : split(lower, '_')) {
    std::string_view digits = part;
    for (const char* prefix : {"layer", "blk", "block", "l"}) {
      if (digits.starts_with(prefix) && digits.size() > std::string_view(prefix).size()) {
        digits.remove_prefix(std::string_view(prefix).size());
        break;
      }
    }
    const int number = whole_number(digits);
    const bool noise = part == "layer" || part == "layers" || part == "blk" || part == "block" ||
                       part == "model" || part == "decoder";
    if (number >= 0 && meaning.layer < 0) {
      meaning.layer = number;
    } else if (!noise && !part.empty()) {
      rest += (rest.empty() ? "" : "_") + std::string(part);
    }
  }
  meaning.tap = capture::find_tap(rest);
  for (const Synonym& synonym : kSynonyms) {
    if (!meaning.tap && rest == synonym.word) {
      meaning.tap = synonym.tap;
    }
  }
  return meaning;
}

}  // namespace

Meaning module_meaning(std::string_view name) {
  Meaning meaning = by_table(name);
  if (!meaning.tap && meaning.fused == Fused::kNone) {
    meaning = by_words(name);
  }
  if (meaning.tap && capture::is_layer_tap(*meaning.tap) != (meaning.layer >= 0)) {
    meaning.why = meaning.layer >= 0 ? "a tap of the whole model, with a layer's number"
                                     : "a tap of a layer, without a layer's number";
    meaning.tap.reset();
  } else if (!meaning.tap && meaning.fused == Fused::kNone) {
    meaning.why = name.find(".inputs") != std::string_view::npos
                      ? "what a module takes in, which another gives out"
                      : "no tap of ours";
  }
  return meaning;
}

}  // namespace layerscope::compare
