// llama.cpp's names. Qcur-L is the product, the sum with the bias, the reshaped and the rotated, in
// that order; unnamed nodes are told by the weight they multiply with (golden/README.md).
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <map>
#include <set>

#include "engine/compare/names.h"

namespace layerscope::compare {
namespace {

using capture::Tap;

struct Row {
  const char* name;
  Tap tap;
};

/// Names that mean one tap, whatever the operation; the last tensor of a name counts.
constexpr Row kNames[] = {
    {"embd", Tap::kEmbedding},
    {"inp_embd", Tap::kEmbedding},
    {"inp_scaled", Tap::kEmbedding},
    {"inpL", Tap::kEmbedding},
    {"attn_norm", Tap::kAttnNorm},
    {"kq_soft_max", Tap::kAttnWeights},
    {"kq_soft_max_ext", Tap::kAttnWeights},
    {"kqv_out", Tap::kAttnContext},
    {"kqv_merged_cont", Tap::kAttnContext},
    {"attn_out", Tap::kAttnOut},
    {"ffn_inp", Tap::kResidMid},
    {"sa_out", Tap::kResidMid},
    {"ffn_norm", Tap::kFfnNorm},
    {"ffn_gate", Tap::kFfnGate},
    {"ffn_gate_b", Tap::kFfnGate},
    {"ffn_up", Tap::kFfnUp},
    {"ffn_up_b", Tap::kFfnUp},
    {"ffn_swiglu", Tap::kFfnAct},
    {"ffn_geglu", Tap::kFfnAct},
    {"ffn_reglu", Tap::kFfnAct},
    {"ffn_gelu", Tap::kFfnAct},
    {"ffn_relu", Tap::kFfnAct},
    {"ffn_gate_par", Tap::kFfnAct},
    {"ffn_out", Tap::kFfnOut},
    {"ffn_moe_out", Tap::kFfnOut},
    {"l_out", Tap::kResidOut},
    {"result_norm", Tap::kFinalNorm},
    {"result_output", Tap::kLogits},
};

/// "Qcur-12" → "Qcur", 12.
struct Named {
  std::string_view base;
  int layer = -1;
};

Named split_name(std::string_view name) {
  const std::size_t dash = name.rfind('-');
  int layer = -1;
  if (dash != std::string_view::npos) {
    const auto read = std::from_chars(name.data() + dash + 1, name.data() + name.size(), layer);
    if (read.ec == std::errc() && read.ptr == name.data() + name.size()) {
      return {name.substr(0, dash), layer};
    }
  }
  return {name, -1};
}

/// "blk.3.attn_output.weight" → 3 when the rest is `role`; −1 otherwise.
int weight_layer(std::string_view name, std::string_view role) {
  int layer = -1;
  if (!name.starts_with("blk.") || !name.ends_with(role)) {
    return -1;
  }
  const auto read = std::from_chars(name.data() + 4, name.data() + name.size(), layer);
  const std::size_t used = static_cast<std::size_t>(read.ptr - name.data());
  return read.ec == std::errc() && name.substr(used) == fmt::format(".{}", role) ? layer : -1;
}

class GgmlReader {
 public:
  GgmlReader(const Trace& trace, const TraceModel& model) : trace_(trace), model_(model) {}

  Reading run() {
    for (std::size_t i = 0; i < trace_.tensors.size(); ++i) {
      const TraceTensor& tensor = trace_.tensors[i];
      const Named named = split_name(tensor.name);
      if (tensor.name.find(" (") != std::string::npos) {
        unread(i, "a view of a tensor that is compared, or a cache");
      } else if (!by_operation(i, tensor, named)) {
        by_name(i, tensor, named);
      }
    }
    for (const auto& [place, found] : found_) {
      reading_.taps.push_back(found);
    }
    add_fused();
    return std::move(reading_);
  }

 private:
  void unread(std::size_t i, std::string why) {
    const TraceTensor& t = trace_.tensors[i];
    reading_.unread.push_back({fmt::format("{} = {}({})", t.name, t.op, t.source), std::move(why)});
  }

  void take(std::size_t i, Tap tap, int layer, double factor = 1.0, bool unmasked = false) {
    const auto place = std::make_pair(layer, tap);
    const auto before = found_.find(place);
    if (before != found_.end()) {
      unread(before->second.tensor, fmt::format("an earlier step of {}", capture::tap_name(tap)));
    }
    found_[place] = {tap, layer, trace_.tensors[i].pass, i, 0, 0, factor, unmasked};
  }

  /// Tensors that only their operands tell apart.
  bool by_operation(std::size_t i, const TraceTensor& t, const Named& named) {
    if (const int layer = weight_layer(t.source, "attn_output.weight"); layer >= 0) {
      return as_attn_out(i, layer);
    }
    if (const int layer = weight_layer(t.source1, "attn_output.bias"); layer >= 0) {
      return as_attn_out(i, layer);
    }
    if (t.op == "GET_ROWS" && t.name != "embd" && t.name != "inp_embd") {
      const auto attention = attn_out_names_.find(t.source);
      if (attention != attn_out_names_.end()) {
        attn_out_names_[t.name] = attention->second;
      }
      unread(i, fmt::format("the rows of {} whose logits are wanted", t.source));
      return true;
    }
    if (t.op == "ADD" && named.base != "ffn_inp") {
      const auto attention = attn_out_names_.find(t.source);
      if (attention != attn_out_names_.end()) {
        take(i, Tap::kResidMid, attention->second);
        return true;
      }
    }
    if (t.op == "SCALE" && split_name(t.source).base == "Qcur") {
      scaled_q_.insert(split_name(t.source).layer);
      unread(i, "the rotated Q times the attention scale");
      return true;
    }
    return by_projection(i, t, named);
  }

  bool as_attn_out(std::size_t i, int layer) {
    take(i, Tap::kAttnOut, layer);
    attn_out_names_[trace_.tensors[i].name] = layer;
    return true;
  }

  bool by_projection(std::size_t i, const TraceTensor& t, const Named& named) {
    const bool rope = t.op == "ROPE";
    if (named.base == "Qcur" || named.base == "Qcur_normed") {
      take(i, rope ? Tap::kQRope : Tap::kQ, named.layer);
    } else if (named.base == "Kcur" || named.base == "Kcur_normed") {
      take(i, rope ? Tap::kKRope : Tap::kK, named.layer);
    } else if (named.base == "Vcur") {
      take(i, Tap::kV, named.layer);
    } else if (named.base == "wqkv" || named.base == "wqkv_b" || named.base == "bqkv") {
      fused_[named.layer] = i;
    } else if (named.base == "kq" || named.base == "kq_scaled_2") {
      take(i, Tap::kAttnScores, named.layer, scale(named), true);
    } else {
      return false;
    }
    return true;
  }

  /// kq is q·k: the soft-max applies the scale, unless Q was scaled before.
  [[nodiscard]] double scale(const Named& named) const {
    if (named.base != "kq" || scaled_q_.contains(named.layer)) {
      return 1.0;
    }
    if (model_.attention_scale > 0.0) {
      return model_.attention_scale;
    }
    const auto q = found_.find({named.layer, Tap::kQRope});
    const auto plain = found_.find({named.layer, Tap::kQ});
    const auto& from = q != found_.end() ? q : plain;
    if (from == found_.end()) {
      return 1.0;
    }
    return 1.0 / std::sqrt(static_cast<double>(trace_.tensors[from->second.tensor].shape.back()));
  }

  void by_name(std::size_t i, const TraceTensor& t, const Named& named) {
    for (const Row& row : kNames) {
      if (named.base == row.name) {
        take(i, row.tap, named.layer);
        return;
      }
    }
    const bool norm = t.op == "NORM" || t.op == "RMS_NORM" || named.base == "norm_w";
    unread(i, norm ? "a norm before its weight or bias: we capture it after" : "no tap of ours");
  }

  /// A fused tensor counts where its parts do not follow as tensors of their own.
  void add_fused() {
    for (const auto& [layer, i] : fused_) {
      const TraceTensor& t = trace_.tensors[i];
      if (found_.contains({layer, Tap::kQ})) {
        unread(i, "fused: its parts follow as Qcur, Kcur and Vcur");
      } else {
        split_fused(Fused::kQkv, i, layer, t.pass, t.shape.back(), model_, reading_);
      }
    }
    // Phi-3: one product for gate and up, gate first.
    for (TapTensor& tap : reading_.taps) {
      const auto act = found_.find({tap.layer, Tap::kFfnAct});
      const std::int64_t row = trace_.tensors[tap.tensor].shape.back();
      if (tap.tap == Tap::kFfnUp && act != found_.end() &&
          row == 2 * trace_.tensors[act->second.tensor].shape.back()) {
        tap.first_column = row / 2;
        tap.n_columns = row / 2;
        fused_gates_.push_back(
            {Tap::kFfnGate, tap.layer, tap.pass, tap.tensor, 0, row / 2, 1.0, false});
      }
    }
    reading_.taps.insert(reading_.taps.end(), fused_gates_.begin(), fused_gates_.end());
  }

  const Trace& trace_;
  const TraceModel& model_;
  Reading reading_;
  std::map<std::pair<int, Tap>, TapTensor> found_;
  std::map<int, std::size_t> fused_;
  std::map<std::string, int> attn_out_names_;
  std::set<int> scaled_q_;
  std::vector<TapTensor> fused_gates_;
};

}  // namespace

Reading read_ggml_taps(const Trace& trace, const TraceModel& model) {
  return GgmlReader(trace, model).run();
}

}  // namespace layerscope::compare
