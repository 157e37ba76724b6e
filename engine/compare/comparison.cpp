#include "engine/compare/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "engine/compare/blocks.h"
#include "engine/compare/thresholds.h"

namespace layerscope::compare {
namespace {

using capture::Tap;

bool is_rotated(Tap tap) {
  return tap == Tap::kQ || tap == Tap::kK || tap == Tap::kQRope || tap == Tap::kKRope;
}

/// Columns of a head, for taps whose rows are made of heads.
int columns_per_head(Tap tap, const TraceModel& model) {
  return is_rotated(tap) || tap == Tap::kV || tap == Tap::kAttnContext ? model.head_dim : 0;
}

class TraceComparer {
 public:
  TraceComparer(const Trace& a, const Trace& b)
      : a_(a),
        b_(b),
        model_(merged(a.model, b.model)),
        read_a_(read_taps(a, model_)),
        read_b_(read_taps(b, model_)) {
    const Tolerance tolerance = tolerance_of(a, b);
    result_.tolerance = tolerance.value;
    result_.precision = tolerance.precision;
    result_.n_positions = std::min(a.n_positions(), b.n_positions());
  }

  Result<Comparison> run() {
    LS_CHECK(same_model());
    take_notes();
    if (compare_tokens()) {
      return std::move(result_);
    }
    guess_head_dim();
    std::set<std::pair<int, Tap>> done;
    for (const TapTensor& tap : read_a_.taps) {
      if (done.insert({tap.layer, tap.tap}).second) {
        LS_CHECK(compare_tap(tap.tap, tap.layer));
      }
    }
    if (result_.pairs.empty()) {
      return invalid_input(
          fmt::format("'{}' and '{}' have no tap in common; the first has {}, the second {}",
                      a_.path, b_.path, tap_list(read_a_), tap_list(read_b_)));
    }
    list_unmatched();
    sort_pairs();
    result_.blocks = block_errors({a_, read_a_}, {b_, read_b_}, model_, result_.n_positions);
    return std::move(result_);
  }

 private:
  Status same_model() const {
    const auto differ = [&](const char* what, int x, int y) -> Status {
      if (x > 0 && y > 0 && x != y) {
        return invalid_input(
            fmt::format("the traces are of different models: '{}' has {} {}, '{}' has {}; compare "
                        "runs of one model",
                        a_.path, what, x, b_.path, y));
      }
      return {};
    };
    LS_CHECK(differ("layers", a_.model.n_layers, b_.model.n_layers));
    LS_CHECK(differ("attention heads", a_.model.n_heads, b_.model.n_heads));
    LS_CHECK(differ("residual channels", width_of(a_, read_a_), width_of(b_, read_b_)));
    return differ("vocabulary rows", logits_of(a_, read_a_), logits_of(b_, read_b_));
  }

  static int last_dimension(const Trace& trace, const Reading& reading, Tap tap) {
    for (const TapTensor& one : reading.taps) {
      if (one.tap == tap && one.n_columns == 0 && !trace.tensors[one.tensor].shape.empty()) {
        return static_cast<int>(trace.tensors[one.tensor].shape.back());
      }
    }
    return 0;
  }
  static int width_of(const Trace& trace, const Reading& reading) {
    return std::max(last_dimension(trace, reading, Tap::kEmbedding),
                    last_dimension(trace, reading, Tap::kResidOut));
  }
  static int logits_of(const Trace& trace, const Reading& reading) {
    return last_dimension(trace, reading, Tap::kLogits);
  }

  void take_notes() {
    for (const Trace* trace : {&a_, &b_}) {
      for (const std::string& note : trace->notes) {
        result_.notes.push_back(fmt::format("{}: {}", trace->path, note));
      }
    }
    if (!a_.model.metadata_sha256.empty() && !b_.model.metadata_sha256.empty() &&
        a_.model.metadata_sha256 != b_.model.metadata_sha256) {
      result_.notes.emplace_back(
          "the model files differ in their metadata: another quantisation or fine-tuning of the "
          "model gives other numbers without a bug");
    }
  }

  /// True when the tokens differ: then nothing after can agree.
  bool compare_tokens() {
    if (a_.ids.empty() || b_.ids.empty()) {
      return false;
    }
    const std::size_t n = std::min(a_.ids.size(), b_.ids.size());
    const auto [at_a, at_b] = std::mismatch(
        a_.ids.begin(), a_.ids.begin() + static_cast<std::ptrdiff_t>(n), b_.ids.begin());
    const auto at = static_cast<std::size_t>(at_a - a_.ids.begin());
    if (at < n) {
      result_.tokens = TokenDifference{static_cast<int>(at), *at_a, *at_b};
      return true;
    }
    if (a_.ids.size() != b_.ids.size()) {
      result_.notes.push_back(fmt::format(
          "the traces have {} and {} tokens; the first {} are the same and are compared",
          a_.ids.size(), b_.ids.size(), n));
    }
    return false;
  }

  /// Head size from a tensor that shows it, where no metadata say so.
  void guess_head_dim() {
    if (model_.head_dim > 0) {
      return;
    }
    for (const auto& [trace, reading] : {std::pair(&a_, &read_a_), std::pair(&b_, &read_b_)}) {
      for (const TapTensor& tap : reading->taps) {
        const auto& shape = trace->tensors[tap.tensor].shape;
        const bool heads = tap.tap == Tap::kQRope || tap.tap == Tap::kQ;
        if (heads && shape.size() >= 3 && shape[shape.size() - 2] > 1) {
          model_.head_dim = static_cast<int>(shape.back());
          return;
        }
      }
    }
  }

  Status compare_tap(Tap tap, int layer) {
    const Rows rows_b(b_, read_b_, model_, tap, layer);
    if (rows_b.empty()) {
      return rows_b.problem().empty() ? Status{} : Status(trace_error(b_, rows_b.problem()));
    }
    for (const TapTensor& one : read_a_.taps) {
      if (one.tap != tap || one.layer != layer) {
        continue;
      }
      auto values = tap_values(a_, one, model_);
      if (!values.ok()) {
        return trace_error(a_, values.error().message);
      }
      add_pair(one, values.value(), rows_b);
    }
    return {};
  }

  void add_pair(const TapTensor& one, const TapValues& a, const Rows& rows_b) {
    DifferenceOptions options;
    options.tolerance = result_.tolerance;
    options.centre = one.tap == Tap::kLogits;
    options.weights = one.tap == Tap::kAttnWeights;
    options.head_dim = columns_per_head(one.tap, model_);
    options.pairs = is_rotated(one.tap) ? pairs_ : Pairs::kSame;
    Difference d = difference(a, rows_b.values(), options);
    if (d.n_compared == 0) {
      return;
    }
    if (one.tap == Tap::kQ && d.diverges() && !pairs_settled_) {
      try_other_pairs(a, rows_b, options, d);
    }
    pairs_settled_ = pairs_settled_ || one.tap == Tap::kQ;
    const auto reference =
        std::find_if(read_b_.taps.begin(), read_b_.taps.end(),
                     [&](const TapTensor& t) { return t.tap == one.tap && t.layer == one.layer; });
    result_.pairs.push_back({one.tap, one.layer, one.pass, a_.tensors[one.tensor].name,
                             b_.tensors[reference->tensor].name, a.first_position, a.n_rows, d});
  }

  /// Before RoPE the order of a head's columns is a matter of how the weights are stored.
  void try_other_pairs(const TapValues& a, const Rows& rows_b, DifferenceOptions options,
                       Difference& d) {
    for (const Pairs pairs : {Pairs::kInterleavedAgainstHalves, Pairs::kHalvesAgainstInterleaved}) {
      options.pairs = pairs;
      const Difference other = difference(a, rows_b.values(), options);
      if (!other.diverges() && !other.partial) {
        pairs_ = pairs;
        d = other;
        result_.notes.emplace_back(
            "Q and K are stored for different RoPE pairings (interleaved against halves, as GGUF "
            "and "
            "PyTorch files of Llama are); their columns were put in one order");
        return;
      }
    }
  }

  void list_unmatched() {
    result_.unmatched_a = read_a_.unread;
    result_.unmatched_b = read_b_.unread;
    std::set<std::pair<int, Tap>> paired;
    for (const Pair& pair : result_.pairs) {
      paired.insert({pair.layer, pair.tap});
    }
    const auto rest = [&](const Trace& trace, const Reading& reading, std::vector<Unread>& out) {
      for (const TapTensor& tap : reading.taps) {
        if (!paired.contains({tap.layer, tap.tap})) {
          out.push_back({trace.tensors[tap.tensor].name,
                         fmt::format("{}: the other trace does not have it at these positions",
                                     capture::tap_name(tap.tap))});
        }
      }
    };
    rest(a_, read_a_, result_.unmatched_a);
    rest(b_, read_b_, result_.unmatched_b);
  }

  void sort_pairs() {
    int n_layers = 0;
    for (const Pair& pair : result_.pairs) {
      n_layers = std::max(n_layers, pair.layer + 1);
    }
    std::stable_sort(result_.pairs.begin(), result_.pairs.end(),
                     [n_layers](const Pair& x, const Pair& y) {
                       return std::make_pair(x.pass, tap_order(x.tap, x.layer, n_layers)) <
                              std::make_pair(y.pass, tap_order(y.tap, y.layer, n_layers));
                     });
    for (std::size_t i = 0; i < result_.pairs.size() && !result_.first; ++i) {
      if (result_.pairs[i].difference.diverges()) {
        result_.first = i;
      }
    }
  }

  static Error trace_error(const Trace& trace, const std::string& sentence) {
    return invalid_input(fmt::format("'{}': {}", trace.path, sentence));
  }

  static std::string tap_list(const Reading& reading) {
    std::set<std::string_view> names;
    for (const TapTensor& tap : reading.taps) {
      names.insert(capture::tap_name(tap.tap));
    }
    return names.empty() ? "none that we know" : fmt::format("{}", fmt::join(names, ", "));
  }

  const Trace& a_;
  const Trace& b_;
  TraceModel model_;
  Reading read_a_, read_b_;
  Comparison result_;
  Pairs pairs_ = Pairs::kSame;
  bool pairs_settled_ = false;
};

/// Coarsest element type of a trace's stored tensors.
double stored_tolerance(const Trace& trace, std::string& name) {
  double value = thresholds::kFloat32;
  const auto raise = [&](double to, const char* precision) {
    if (to > value) {
      value = to;
      name = precision;
    }
  };
  constexpr double kHalf = 0x1p-12;
  constexpr double kBrain = 0x1p-9;
  if (trace.unit_roundoff > kBrain) {
    raise(thresholds::kBfloat16, "bfloat16");
  } else if (trace.unit_roundoff > kHalf) {
    raise(thresholds::kFloat16, "float16");
  }
  for (const TraceTensor& t : trace.tensors) {
    const bool half =
        t.dtype == "F16" || t.dtype == "f16" || t.dtype == "torch.float16" || t.dtype == "float16";
    const bool brain = t.dtype == "BF16" || t.dtype == "bf16" || t.dtype == "torch.bfloat16" ||
                       t.dtype == "bfloat16";
    if (brain) {
      raise(thresholds::kBfloat16, "bfloat16");
    } else if (half) {
      raise(thresholds::kFloat16, "float16");
    }
    if (t.op == "GELU" || t.op == "GEGLU") {
      raise(thresholds::kGeluTable, "float32 with llama.cpp's GELU table");
    }
  }
  return value;
}

bool from_llama_cpp(const Trace& trace) {
  return std::any_of(trace.tensors.begin(), trace.tensors.end(),
                     [](const TraceTensor& t) { return !t.op.empty(); });
}

/// A type whose products llama.cpp makes with activations rounded to 8 bits.
bool is_quantised(const std::string& quantization) {
  return quantization.find('Q') != std::string::npos;
}

}  // namespace

Tolerance tolerance_of(const Trace& a, const Trace& b) {
  std::string name_a = "float32";
  std::string name_b = "float32";
  const double x = stored_tolerance(a, name_a);
  const double y = stored_tolerance(b, name_b);
  Tolerance t = x > y ? Tolerance{x, name_a} : Tolerance{y, name_b};
  const TraceModel model = merged(a.model, b.model);
  if (is_quantised(model.quantization) && from_llama_cpp(a) != from_llama_cpp(b) &&
      thresholds::kQuantised > t.value) {
    t = {thresholds::kQuantised, "llama.cpp's 8-bit activations"};
  }
  return t;
}

Result<Comparison> compare_traces(const Trace& a, const Trace& b) {
  return TraceComparer(a, b).run();
}

void borrow_tokens(Trace& trace, const Trace& other) {
  if (!trace.ids.empty() || other.ids.empty()) {
    return;
  }
  const bool one_row = trace.tensors.size() == 1 && trace.n_positions() == 1;
  const std::size_t n =
      one_row && other.n_prompt > 0
          ? other.n_prompt
          : (one_row ? other.ids.size() : static_cast<std::size_t>(trace.n_positions()));
  if (n <= other.ids.size()) {
    trace.ids.assign(other.ids.begin(), other.ids.begin() + static_cast<std::ptrdiff_t>(n));
    if (one_row) {
      trace.passes = {{0, static_cast<int>(n)}};
    }
    trace.notes.emplace_back(
        "it does not say its token ids, so that both saw the same tokens is taken on trust");
  }
}

std::string place_text(const Pair& pair) {
  std::string text(capture::tap_name(pair.tap));
  if (pair.layer >= 0) {
    text += fmt::format(" of layer {}", pair.layer);
  }
  if (pair.difference.head >= 0) {
    text += fmt::format(", head {}", pair.difference.head);
  }
  if (pair.difference.channel >= 0) {
    text += fmt::format(", channel {}", pair.difference.channel);
  }
  if (pair.difference.position >= 0) {
    text += fmt::format(" at position {}", pair.difference.position);
  }
  return text;
}

Rows::Rows(const Trace& trace, const Reading& reading, const TraceModel& model, Tap tap,
           int layer) {
  for (const TapTensor& one : reading.taps) {
    if (one.tap != tap || one.layer != layer) {
      continue;
    }
    auto values = tap_values(trace, one, model);
    if (values.ok()) {
      values_.push_back(std::move(values).value());
    } else if (problem_.empty()) {
      problem_ = values.error().message;
    }
  }
}

const TapValues* Rows::at(int position, int& row) const {
  for (const TapValues& v : values_) {
    if (position >= v.first_position && position < v.first_position + v.n_rows) {
      row = position - v.first_position;
      return &v;
    }
  }
  return nullptr;
}

}  // namespace layerscope::compare
