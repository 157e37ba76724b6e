// Checks of one idea each: token ids, weights at load, the first NaN, repetition.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

using capture::Tap;

void check_tokens(const LiveInput& input, Report& report) {
  const Subject& subject = input.subject;
  const tokenizer::Tokenizer& tokenizer = *subject.model->tokenizer;
  // Once, when the prompt is complete.
  if (!subject.text_known || subject.n_prompt == 0 || input.frames.size() != subject.n_prompt) {
    return;
  }
  const std::vector<std::int32_t> right = tokenizer.encode(subject.fed_text).ids;
  std::vector<std::int32_t> ids;
  for (const auto& frame : input.frames) {
    ids.push_back(frame->id);
  }
  if (ids == right) {
    return;
  }
  const auto bad = std::mismatch(ids.begin(), ids.end(), right.begin(), right.end());
  const auto at = static_cast<int>(bad.first - ids.begin());
  Finding f;
  f.check = "tokens";
  f.stage = -1;
  f.position = at;
  f.evidence.position = at;
  f.value = at < static_cast<int>(ids.size()) ? ids[static_cast<std::size_t>(at)] : -1;
  f.threshold = bad.second != right.end() ? *bad.second : -1;
  const std::int32_t bos = tokenizer.bos();
  if (tokenizer.adds_bos() && !ids.empty() && ids.front() != bos) {
    f.cause = "bos-missing";
    f.message =
        fmt::format("the prompt starts with token {}, but this model's prompts start with BOS ({})",
                    ids.front(), bos);
    f.advice = "add BOS before the prompt's tokens (tokenizer.ggml.add_bos_token)";
  } else if (ids.size() > 1 && ids[0] == bos && ids[1] == bos) {
    f.cause = "bos-doubled";
    f.message = fmt::format("the prompt starts with BOS ({}) twice", bos);
    f.advice = "either the template or the tokenizer adds BOS, not both";
  } else {
    f.cause = "tokens-differ";
    f.message = fmt::format("token {} of the prompt is {:.0f}, the tokenizer gives {:.0f}", at,
                            f.value, f.threshold);
    f.advice = "compare special tokens: they are often split into pieces";
  }
  report.add(std::move(f));
}

namespace {

/// Values of a tensor that the scan reads: all of a small one, evenly spread pieces of a large one,
/// so that opening a model of any size costs the same.
std::vector<float> scanned_values(const format::TensorInfo& tensor) {
  constexpr std::uint64_t kMost = 65536;
  constexpr std::uint64_t kPiece = 4096;  // a multiple of every block
  if (tensor.n_elements <= kMost) {
    auto all = format::decode_values(tensor, 0, tensor.n_elements);
    return all.ok() ? std::move(all).value() : std::vector<float>{};
  }
  std::vector<float> values;
  constexpr std::uint64_t kPieces = kMost / kPiece;
  for (std::uint64_t i = 0; i < kPieces; ++i) {
    const std::uint64_t first = (tensor.n_elements - kPiece) / (kPieces - 1) * i / kPiece * kPiece;
    const auto piece = format::decode_values(tensor, first, kPiece);
    if (piece.ok()) {
      values.insert(values.end(), piece.value().begin(), piece.value().end());
    }
  }
  return values;
}

Finding weight_finding(const std::string& tensor, const char* cause, Severity severity) {
  Finding f;
  f.check = "weights";
  f.cause = cause;
  f.severity = severity;
  f.tensor = tensor;
  f.stage = -2;
  int layer = -1;
  if (std::sscanf(tensor.c_str(), "blk.%d.", &layer) == 1) {  // NOLINT: a name of our own format
    f.layer = layer;
  }
  return f;
}

bool is_norm(const std::string& name) { return name.ends_with("norm.weight"); }

void scan_tensor(const format::TensorInfo& tensor, const std::vector<float>& values,
                 Report& report) {
  const auto bad =
      std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
  if (bad != values.end()) {
    Finding f = weight_finding(tensor.name, "weights-non-finite", Severity::kError);
    f.value = static_cast<double>(*bad);
    f.message = fmt::format("tensor '{}' holds {}", tensor.name, *bad);
    f.advice = "the file is damaged or was converted wrongly: make it again";
    report.add(std::move(f));
    return;
  }
  const bool zero = std::all_of(values.begin(), values.end(), [](float v) { return v == 0.0F; });
  if (zero && !values.empty() && !tensor.name.ends_with(".bias")) {
    Finding f = weight_finding(tensor.name, "weights-zero", Severity::kError);
    f.message = fmt::format("every value of tensor '{}' is zero", tensor.name);
    f.advice = "the file is incomplete or was converted wrongly: make it again";
    report.add(std::move(f));
  }
}

}  // namespace

void check_weights(const Subject& subject, Report& report) {
  const model::Model& model = *subject.model;
  std::vector<std::pair<double, std::string>> norms;
  for (const format::TensorInfo& tensor : model.file->tensors) {
    const std::vector<float> values = scanned_values(tensor);
    scan_tensor(tensor, values, report);
    if (is_norm(tensor.name) && !values.empty()) {
      double sum = 0.0;
      for (const float v : values) {
        sum += std::fabs(static_cast<double>(v));
      }
      norms.emplace_back(sum / static_cast<double>(values.size()), tensor.name);
    }
  }
  for (const std::string& name : model.weights.unread) {
    Finding f = weight_finding(name, "tensor-unread", Severity::kWarning);
    f.message = fmt::format("tensor '{}' of the file is never read", name);
    f.advice = "a bias or norm that is left out changes every result; support it or remove it";
    report.add(std::move(f));
  }
  if (norms.size() < 3) {
    return;
  }
  std::vector<std::pair<double, std::string>> order = norms;
  std::nth_element(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(order.size() / 2),
                   order.end());
  const double median = order[order.size() / 2].first;
  for (const auto& [mean, name] : norms) {
    // Layer norms of one model differ by small factors; only the output norm is known to be
    // corrupted alone.
    if (name == "output_norm.weight" && mean > thresholds::kNormRatio * median) {
      Finding f = weight_finding(name, "norm-weights-corrupt", Severity::kWarning);
      f.value = mean;
      f.threshold = thresholds::kNormRatio * median;
      f.message = fmt::format("'{}' has mean {:.3g}, the model's norms have a median of {:.3g}",
                              name, mean, median);
      f.advice = "compare with the original weights: a mean near the others is usual";
      report.add(std::move(f));
    }
  }
}

void check_non_finite(const LiveInput& input, Report& report) {
  const capture::TokenFrame& frame = *input.frames.back();
  if (!frame.has_stats()) {
    return;
  }
  const auto look = [&](int layer, Tap tap) {
    const capture::TapStats& stats = frame.stats(layer, tap);
    if (stats.count == 0 || stats.non_finite == 0) {
      return false;
    }
    Finding f =
        finding_at(*input.subject.model, "non-finite", "non-finite", tap, layer, frame.position);
    f.value = stats.non_finite;
    f.symptom = true;
    f.message = fmt::format(
        "{}{} at position {}: {} of {} values are NaN or infinite, here for the "
        "first time",
        capture::tap_name(tap), layer >= 0 ? fmt::format(" of layer {}", layer) : "",
        frame.position, stats.non_finite, stats.count);
    f.advice = "look at what writes this tensor; everything after it is a consequence";
    report.add(std::move(f));
    return true;
  };
  if (look(-1, Tap::kEmbedding)) {
    return;
  }
  for (int layer = 0; layer < frame.n_layers; ++layer) {
    for (std::size_t i = static_cast<std::size_t>(Tap::kAttnNorm);
         i <= static_cast<std::size_t>(Tap::kResidOut); ++i) {
      if (look(layer, static_cast<Tap>(i))) {
        return;
      }
    }
  }
  if (!look(-1, Tap::kFinalNorm)) {
    look(-1, Tap::kLogits);
  }
}

void check_repetition(const LiveInput& input, Report& report) {
  const auto& frames = input.frames;
  const std::size_t n = frames.size();
  const std::size_t generated = n - std::min(n, input.subject.n_prompt);
  if (generated < static_cast<std::size_t>(thresholds::kLoopTokens)) {
    return;
  }
  constexpr std::size_t kLongest = 16;
  for (std::size_t period = 1; period <= kLongest; ++period) {
    const std::size_t need = std::max(period * static_cast<std::size_t>(thresholds::kLoopRepeats),
                                      static_cast<std::size_t>(thresholds::kLoopTokens));
    if (need > generated) {
      break;
    }
    bool loop = true;
    for (std::size_t i = n - need; i + period < n && loop; ++i) {
      loop = frames[i]->id == frames[i + period]->id;
    }
    if (!loop) {
      continue;
    }
    const std::size_t before = n - need;
    if (before > input.subject.n_prompt &&
        frames[before - 1]->id == frames[before - 1 + period]->id) {
      return;  // told when it became a loop
    }
    Finding f;
    f.check = "repetition";
    f.cause = "repetition-loop";
    f.severity = Severity::kInfo;  // a healthy model may loop too; with a root it is a symptom
    f.symptom = true;
    f.position = static_cast<int>(n - need);
    f.stage = stage_of(-1, static_cast<int>(Tap::kLogits), frames.back()->n_layers) + 2;
    f.evidence.position = f.position;
    f.value = static_cast<double>(need);
    f.threshold = thresholds::kLoopTokens;
    f.message = fmt::format("the last {} tokens repeat a cycle of {}", need, period);
    f.advice =
        "without another finding this is the model's own doing: try a temperature or a penalty";
    report.add(std::move(f));
    return;
  }
}

}  // namespace layerscope::diagnose
