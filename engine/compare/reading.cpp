#include "engine/compare/reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/compare/importers.h"
#include "engine/compare/names.h"

namespace layerscope::compare {
namespace {

using capture::Tap;

/// Names of tensors that our traces hold beside taps (session/trace_records.h).
bool is_statistics(std::string_view tap) {
  return tap == "tap_stats" || tap == "head_stats" || tap == "choice" || tap == "logit_stats" ||
         tap == "logit_top";
}

void take_own(const Trace& trace, std::size_t i, int pass, int layer, std::string_view name,
              Reading& reading) {
  const auto tap = capture::find_tap(name);
  if (tap && capture::is_layer_tap(*tap) == (layer >= 0)) {
    reading.taps.push_back({*tap, layer, pass, i, 0, 0, 1.0, false});
  } else if (!is_statistics(name)) {
    reading.unread.push_back({trace.tensors[i].name, "no tap of ours"});
  }
}

/// Modules' inputs repeat what others put out: resid_out of layer L is what layer L + 1 reads.
void take_module(const Trace& trace, std::size_t i, const TraceModel& model, Reading& reading) {
  const TraceTensor& t = trace.tensors[i];
  const Meaning meaning = module_meaning(t.name);
  if (meaning.tap) {
    reading.taps.push_back({*meaning.tap, meaning.layer, t.pass, i, 0, 0, 1.0, false});
  } else if (meaning.fused != Fused::kNone && !t.shape.empty()) {
    split_fused(meaning.fused, i, meaning.layer, t.pass, t.shape.back(), model, reading);
  } else {
    reading.unread.push_back({t.name, meaning.why});
  }
}

/// The debugger of transformers drops what a module with children puts out. The residual stream
/// after layer L is then what the norm of layer L + 1, or the last norm, reads.
void add_layer_inputs(const Trace& trace, Reading& reading) {
  std::set<int> have;
  int n_layers = 0;
  for (const TapTensor& tap : reading.taps) {
    n_layers = std::max(n_layers, tap.layer + 1);
    if (tap.tap == Tap::kResidOut) {
      have.insert(tap.layer);
    }
  }
  std::vector<Unread> left;
  for (const Unread& unread : reading.unread) {
    const auto found = std::find_if(trace.tensors.begin(), trace.tensors.end(),
                                    [&](const TraceTensor& t) { return t.name == unread.name; });
    std::string_view name = unread.name;
    int layer = -1;
    if (name.ends_with(".inputs") && found != trace.tensors.end()) {
      const std::size_t at = name.find("layers.");
      if (at != std::string_view::npos && name.ends_with(".input_layernorm.inputs")) {
        layer = std::atoi(std::string(name.substr(at + 7)).c_str()) - 1;  // NOLINT: digits follow
      } else if (name == "model.norm.inputs") {
        layer = n_layers - 1;
      }
    }
    if (layer >= 0 && have.insert(layer).second) {
      reading.taps.push_back({Tap::kResidOut, layer, found->pass,
                              static_cast<std::size_t>(found - trace.tensors.begin()), 0, 0, 1.0,
                              false});
    } else {
      left.push_back(unread);
    }
  }
  reading.unread = std::move(left);
}

/// Two tensors of one tap and pass: the later one counts (a QK-norm after the projection).
void keep_last(const Trace& trace, Reading& reading) {
  std::map<std::tuple<int, int, Tap>, TapTensor> last;
  for (const TapTensor& tap : reading.taps) {
    const auto place = std::make_tuple(tap.pass, tap.layer, tap.tap);
    const auto before = last.find(place);
    if (before == last.end()) {
      last.emplace(place, tap);
      continue;
    }
    const bool later = tap.tensor >= before->second.tensor;
    const TapTensor& lost = later ? before->second : tap;
    reading.unread.push_back(
        {trace.tensors[lost.tensor].name,
         fmt::format("another tensor stands for {} of that layer", capture::tap_name(tap.tap))});
    if (later) {
      before->second = tap;
    }
  }
  reading.taps.clear();
  for (const auto& [place, tap] : last) {
    reading.taps.push_back(tap);
  }
}

}  // namespace

int tap_order(Tap tap, int layer, int n_layers) {
  const int number = static_cast<int>(tap);
  const int per_layer = static_cast<int>(capture::kNumTaps);
  if (capture::is_layer_tap(tap)) {
    return per_layer * (layer + 1) + number;
  }
  return tap == Tap::kEmbedding ? 0 : per_layer * (n_layers + 1) + number;
}

TraceModel merged(const TraceModel& a, const TraceModel& b) {
  TraceModel m = a;
  const auto fill = [](auto& mine, const auto& other) {
    if (mine == std::remove_cvref_t<decltype(mine)>{}) {
      mine = other;
    }
  };
  fill(m.name, b.name);
  fill(m.architecture, b.architecture);
  fill(m.metadata_sha256, b.metadata_sha256);
  fill(m.quantization, b.quantization);
  fill(m.n_layers, b.n_layers);
  fill(m.n_heads, b.n_heads);
  fill(m.n_kv_heads, b.n_kv_heads);
  fill(m.head_dim, b.head_dim);
  fill(m.hidden, b.hidden);
  fill(m.ffn, b.ffn);
  fill(m.attention_scale, b.attention_scale);
  return m;
}

void split_fused(Fused fused, std::size_t tensor, int layer, int pass, std::int64_t row,
                 const TraceModel& model, Reading& reading) {
  const auto add = [&](Tap tap, std::int64_t first, std::int64_t n) {
    reading.taps.push_back({tap, layer, pass, tensor, first, n, 1.0, false});
  };
  if (fused == Fused::kGateUp) {
    add(Tap::kFfnGate, 0, row / 2);
    add(Tap::kFfnUp, row / 2, row / 2);
    return;
  }
  std::int64_t q = static_cast<std::int64_t>(model.n_heads) * model.head_dim;
  std::int64_t kv = static_cast<std::int64_t>(model.n_kv_heads) * model.head_dim;
  if (q == 0 || q + 2 * kv != row) {  // without the model: three equal parts, as in GPT-2
    q = row / 3;
    kv = row / 3;
  }
  add(Tap::kQ, 0, q);
  add(Tap::kK, q, kv);
  add(Tap::kV, q + kv, kv);
}

Reading read_taps(const Trace& trace, const TraceModel& model) {
  const bool ggml = std::any_of(trace.tensors.begin(), trace.tensors.end(),
                                [](const TraceTensor& t) { return !t.op.empty(); });
  Reading reading;
  if (ggml) {
    reading = read_ggml_taps(trace, model);
  } else {
    for (std::size_t i = 0; i < trace.tensors.size(); ++i) {
      int pass = 0;
      int layer = -1;
      std::string_view name;
      if (parse_own_name(trace.tensors[i].name, pass, layer, name)) {
        take_own(trace, i, pass, layer, name, reading);
      } else {
        take_module(trace, i, model, reading);
      }
    }
    add_layer_inputs(trace, reading);
  }
  keep_last(trace, reading);
  int n_layers = model.n_layers;
  for (const TapTensor& tap : reading.taps) {
    n_layers = std::max(n_layers, tap.layer + 1);
  }
  std::stable_sort(reading.taps.begin(), reading.taps.end(),
                   [n_layers](const TapTensor& a, const TapTensor& b) {
                     return std::make_pair(a.pass, tap_order(a.tap, a.layer, n_layers)) <
                            std::make_pair(b.pass, tap_order(b.tap, b.layer, n_layers));
                   });
  return reading;
}

}  // namespace layerscope::compare
