#include "engine/session/trace_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "engine/capture/frame_memory.h"
#include "engine/session/sampler.h"
#include "engine/session/trace_records.h"
#include "engine/session/trace_vocabulary.h"

namespace layerscope::session {
namespace {

using capture::Tap;
using compare::TapTensor;
using compare::TapValues;

constexpr std::size_t kMostProblems = 8;

/// Position of a row.
std::size_t place_of(const TapValues& v, int row) {
  const int position = v.first_position + row;
  return static_cast<std::size_t>(position);
}

bool whole(const TapValues& v) { return v.known.empty(); }

capture::HeadStats stats_of_row(std::span<const float> row, int self) {
  capture::HeadStats s;
  double sum = 0.0;
  double entropy = 0.0;
  s.max = row.empty() ? 0.0F : row.front();
  s.argmax = row.empty() ? -1 : 0;
  for (std::size_t k = 0; k < row.size(); ++k) {
    const auto p = static_cast<double>(row[k]);
    sum += p;
    entropy -= p > 0.0 ? p * std::log(p) : 0.0;
    if (row[k] > s.max) {
      s.max = row[k];
      s.argmax = static_cast<std::int32_t>(k);
    }
  }
  s.row_sum = static_cast<float>(sum);
  s.entropy = static_cast<float>(entropy);
  s.first = row.empty() ? 0.0F : row.front();
  s.self = self >= 0 && static_cast<std::size_t>(self) < row.size()
               ? row[static_cast<std::size_t>(self)]
               : 0.0F;
  return s;
}

/// log Σ exp(score) of the keys that a query may see.
float lse_of_row(std::span<const float> row) {
  float most = -std::numeric_limits<float>::infinity();
  for (const float v : row) {
    most = std::max(most, v);
  }
  if (!std::isfinite(most)) {
    return most;
  }
  double sum = 0.0;
  for (const float v : row) {
    sum += std::exp(static_cast<double>(v) - static_cast<double>(most));
  }
  return static_cast<float>(static_cast<double>(most) + std::log(sum));
}

/// Heads that a row of the tap is made of; 0: it is not.
int heads_of(Tap tap, const ModelInfo& model) {
  switch (tap) {
    case Tap::kQ:
    case Tap::kQRope:
    case Tap::kAttnContext:
      return model.n_heads;
    case Tap::kK:
    case Tap::kKRope:
    case Tap::kV:
      return model.n_kv_heads;
    default:
      return 0;
  }
}

std::string not_captured(const compare::Trace& trace, std::string_view what, std::string_view how) {
  return fmt::format("Not captured in this trace: {}{}", what,
                     trace.format == "Layerscope trace"
                         ? fmt::format("; record it with --capture {}.", how)
                         : fmt::format(". What a {} shows is in the other panels.", trace.format));
}

}  // namespace

/// What frames are made of, pass by pass.
struct TraceReader::Making {
  std::vector<std::shared_ptr<capture::TokenFrame>> frames;  ///< [n_positions]
  std::map<int, std::vector<float>> rows;     ///< by position: [layers][heads][position + 1]
  std::map<int, std::vector<bool>> has_rows;  ///< by position: layers
  std::optional<Sampler> sampler;
  int first_kept = 0;
  std::vector<std::string> problems;
  std::uint64_t bytes = 0;  ///< of the frames so far
  std::size_t first_rows = 0, first_statistics = 0;

  /// Takes account of a pass that is done and drops the oldest frames' detail beyond `budget`:
  /// rows, then statistics. The newest frame keeps its own.
  void limit(const compare::TracePass& pass, std::uint64_t budget) {
    const auto begin = static_cast<std::size_t>(std::max(pass.first_position, 0));
    const std::size_t end =
        std::min(frames.size(), begin + static_cast<std::size_t>(std::max(pass.n_tokens, 0)));
    for (std::size_t i = begin; i < end; ++i) {
      bytes += capture::memory_of(*frames[i]).host();
    }
    const auto drop = [&](std::size_t& first, capture::Detail most) {
      for (; bytes > budget && first + 1 < end; ++first) {
        bytes -= capture::memory_of(*frames[first]).host();
        capture::reduce(*frames[first], most);
        bytes += capture::memory_of(*frames[first]).host();
      }
    };
    drop(first_rows, capture::Detail::kStatistics);
    drop(first_statistics, capture::Detail::kSummary);
  }
};

TraceReader::TraceReader(std::shared_ptr<const compare::Trace> trace,
                         const TraceReaderOptions& options)
    : trace_(std::move(trace)),
      reading_(compare::read_taps(*trace_, trace_->model)),
      serial_base_(options.serial_base) {
  find_shape();
  by_pass_.resize(trace_->passes.size());
  for (std::size_t i = 0; i < reading_.taps.size(); ++i) {
    const auto pass = static_cast<std::size_t>(std::max(reading_.taps[i].pass, 0));
    by_pass_[std::min(pass, by_pass_.size() - 1)].push_back(i);
  }
  auto model = std::make_shared<ModelInfo>();
  const compare::TraceModel& m = trace_->model;
  model->path = trace_->path;
  model->name = m.name.empty() ? std::filesystem::path(trace_->path).filename().string() : m.name;
  model->architecture = m.architecture.empty() ? "unknown" : m.architecture;
  model->quantization = m.quantization;
  model->n_layers = n_layers_;
  model->n_heads = n_heads_;
  model->n_kv_heads = m.n_kv_heads > 0 ? m.n_kv_heads : n_heads_;
  model->head_dim = m.head_dim;
  model->hidden = m.hidden;
  model->ffn = m.ffn;
  model->vocab_rows = vocab_rows_;
  model->tokenizer = trace_tokenizer(trace_->vocabulary);
  const auto largest =
      trace_->ids.empty() ? 0 : *std::max_element(trace_->ids.begin(), trace_->ids.end());
  if (model->tokenizer == nullptr && options.tokenizer != nullptr &&
      largest < options.tokenizer->n_tokens() &&
      (vocab_rows_ == 0 || vocab_rows_ >= options.tokenizer->n_tokens())) {
    model->tokenizer = options.tokenizer;
  }
  model->n_tokens = model->tokenizer != nullptr ? model->tokenizer->n_tokens() : vocab_rows_;
  const std::vector<bool> usable = usable_rows(trace_->vocabulary, vocab_rows_);
  model->n_padded = static_cast<int>(std::count(usable.begin(), usable.end(), false));
  model_ = std::move(model);
  describe();
}

void TraceReader::find_shape() {
  n_positions_ = trace_->n_positions();
  n_layers_ = trace_->model.n_layers;
  n_heads_ = trace_->model.n_heads;
  vocab_rows_ = trace_->vocabulary.rows;
  for (const TapTensor& tap : reading_.taps) {
    const auto& shape = trace_->tensors[tap.tensor].shape;
    n_layers_ = std::max(n_layers_, tap.layer + 1);
    const bool attention = tap.tap == Tap::kAttnWeights || tap.tap == Tap::kAttnScores;
    if (attention && n_heads_ == 0 && shape.size() >= 3) {
      n_heads_ = static_cast<int>(shape[shape.size() - 3]);
    }
    if (tap.tap == Tap::kLogits && vocab_rows_ == 0 && !shape.empty()) {
      vocab_rows_ = static_cast<int>(shape.back());
    }
  }
}

/// What is there, so that panels can say what is not.
void TraceReader::describe() {
  const compare::Trace& t = *trace_;
  info_.path = t.path;
  info_.format = t.format;
  info_.capture = t.capture;
  info_.n_positions = n_positions_;
  info_.notes = t.notes;
  const auto record = [&](std::string_view name) {
    return std::any_of(t.tensors.begin(), t.tensors.end(), [&](const compare::TraceTensor& one) {
      return one.name.ends_with(name) && one.name.starts_with('p');
    });
  };
  bool weights = false;
  bool logits = record(".logit_stats");
  bool whole_taps = false;
  bool partial = false;
  for (const TapTensor& tap : reading_.taps) {
    const bool all = t.tensors[tap.tensor].known.empty();
    partial = partial || !all;
    weights = weights || (tap.tap == Tap::kAttnWeights && all);
    logits = logits || (tap.tap == Tap::kLogits && all);
    whole_taps = whole_taps || (all && tap.tap != Tap::kLogits && tap.tap != Tap::kAttnWeights);
  }
  const std::string printed =
      partial ? fmt::format(
                    "Not captured in this trace: a {} prints only the first and last values "
                    "of each row. Compare uses what is printed.",
                    t.format)
              : std::string();
  const auto why = [&](bool there, std::string_view what, std::string_view how) {
    return there ? std::string() : partial ? printed : not_captured(t, what, how);
  };
  info_.attention = why(weights, "attention rows", "attention");
  info_.heads = why(weights || record(".head_stats"), "statistics of heads", "summary");
  info_.norms = why(whole_taps || record(".tap_stats"), "statistics of taps", "summary");
  info_.logits = why(logits, "distributions", "summary");
  info_.tensors = why(whole_taps, "whole tensors", "full");
  info_.texts = model_->tokenizer != nullptr
                    ? ""
                    : "This trace holds token ids without their texts: open its model first, then "
                      "the trace, to read them.";
}

/// The first position whose rows fit the budget together with those after it.
int TraceReader::first_kept(std::uint64_t budget, std::uint64_t& bytes) const {
  bytes = 0;
  int first = n_positions_;
  const auto heads = static_cast<std::uint64_t>(n_layers_) * static_cast<std::uint64_t>(n_heads_);
  while (first > 0) {
    const std::uint64_t more = heads * static_cast<std::uint64_t>(first) * sizeof(float);
    if (bytes + more > budget && first < n_positions_) {
      break;
    }
    bytes += more;
    --first;
  }
  return first;
}

Result<TraceReader::Frames> TraceReader::frames(const FrameOptions& options) const {
  Making making;
  making.frames.resize(static_cast<std::size_t>(n_positions_));
  for (int p = 0; p < n_positions_; ++p) {
    auto frame = std::make_shared<capture::TokenFrame>();
    frame->serial = serial_base_ + static_cast<std::uint64_t>(p) + 1;
    frame->position = p;
    frame->id = static_cast<std::size_t>(p) < trace_->ids.size()
                    ? trace_->ids[static_cast<std::size_t>(p)]
                    : -1;
    frame->choice.origin = trace_->n_prompt > 0 && static_cast<std::size_t>(p) >= trace_->n_prompt
                               ? capture::Origin::kSampled
                               : capture::Origin::kPrompt;
    frame->n_layers = n_layers_;
    frame->n_heads = n_heads_;
    making.frames[static_cast<std::size_t>(p)] = std::move(frame);
  }
  if (vocab_rows_ > 0) {
    making.sampler.emplace(usable_rows(trace_->vocabulary, vocab_rows_));
  }
  Frames result;
  std::uint64_t bytes = 0;
  making.first_kept = info_.attention.empty() ? first_kept(options.budget, bytes) : 0;
  for (std::size_t pass = 0; pass < by_pass_.size(); ++pass) {
    for (const std::size_t i : by_pass_[pass]) {
      if (options.stop.stop_requested()) {
        return cancelled_error();
      }
      take_tap(reading_.taps[i], making);
    }
    finish_pass(static_cast<int>(pass), making);
    making.limit(trace_->passes[pass], options.budget);
    if (options.progress) {
      options.progress(static_cast<double>(pass + 1) / static_cast<double>(by_pass_.size()));
    }
  }
  for (auto& frame : making.frames) {
    if (frame->attention == nullptr && info_.attention.empty()) {
      frame->detail = std::min(frame->detail, capture::Detail::kStatistics);  // first_kept
    }
    result.frames.push_back(std::move(frame));
  }
  result.problems = std::move(making.problems);
  return result;
}

void TraceReader::take_tap(const TapTensor& tap, Making& making) const {
  const auto values = compare::tap_values(*trace_, tap, trace_->model);
  if (!values.ok()) {
    if (making.problems.size() < kMostProblems) {
      making.problems.push_back(values.error().message);
    }
    return;
  }
  const TapValues& v = values.value();
  if (v.first_position < 0 || v.first_position + v.n_rows > n_positions_ || !whole(v)) {
    return;  // printed values alone have no norm and no row
  }
  if (v.attention) {
    take_weights(tap, v, making);
  } else {
    take_rows(tap, v, making);
  }
  if (tap.tap == Tap::kLogits) {
    take_logits(v, making);
  }
}

void TraceReader::take_rows(const TapTensor& tap, const TapValues& v, Making& making) const {
  const auto n_stats = static_cast<std::size_t>(n_layers_ + 1) * capture::kNumTaps;
  const auto layer = static_cast<std::size_t>(tap.layer < 0 ? n_layers_ : tap.layer);
  for (int row = 0; row < v.n_rows; ++row) {
    capture::TokenFrame& frame = *making.frames[place_of(v, row)];
    frame.taps.resize(n_stats);
    frame.taps[layer * capture::kNumTaps + static_cast<std::size_t>(tap.tap)] =
        capture::compute_stats(&v.values[v.index(0, row, 0)], static_cast<std::size_t>(v.width));
  }
}

void TraceReader::take_weights(const TapTensor& tap, const TapValues& v, Making& making) const {
  if (v.n_heads != n_heads_ || tap.layer < 0) {
    return;
  }
  const auto heads = static_cast<std::size_t>(n_heads_);
  const auto layer = static_cast<std::size_t>(tap.layer);
  for (int row = 0; row < v.n_rows; ++row) {
    const int position = v.first_position + row;
    const std::size_t n_keys = static_cast<std::size_t>(position) + 1;
    capture::TokenFrame& frame = *making.frames[static_cast<std::size_t>(position)];
    frame.heads.resize(static_cast<std::size_t>(n_layers_) * heads);
    const bool keep = tap.tap == Tap::kAttnWeights && position >= making.first_kept;
    std::vector<float>* rows = nullptr;
    if (keep) {
      rows = &making.rows[position];
      rows->resize(static_cast<std::size_t>(n_layers_) * heads * n_keys, 0.0F);
      auto& has = making.has_rows[position];
      has.resize(static_cast<std::size_t>(n_layers_), false);
      has[layer] = true;
    }
    for (std::size_t h = 0; h < heads; ++h) {
      const std::size_t from = v.index(static_cast<int>(h), row, 0);
      const auto seen =
          std::span(v.values).subspan(from, std::min(n_keys, static_cast<std::size_t>(v.width)));
      capture::HeadStats& stats = frame.heads[layer * heads + h];
      if (tap.tap == Tap::kAttnScores) {
        stats.lse = lse_of_row(seen);
        continue;
      }
      const float lse = stats.lse;
      stats = stats_of_row(seen, position);
      stats.lse = lse;
      if (rows != nullptr) {
        std::copy(seen.begin(), seen.end(),
                  rows->begin() + static_cast<std::ptrdiff_t>((layer * heads + h) * n_keys));
      }
    }
  }
}

void TraceReader::take_logits(const TapValues& v, Making& making) const {
  if (!making.sampler || v.width != vocab_rows_) {
    return;
  }
  for (int row = 0; row < v.n_rows; ++row) {
    const auto position = place_of(v, row);
    const auto logits =
        std::span(v.values).subspan(v.index(0, row, 0), static_cast<std::size_t>(v.width));
    const capture::LogitSummary summary = making.sampler->summarize(logits);
    if (position + 1 < making.frames.size()) {
      capture::TokenFrame& next = *making.frames[position + 1];
      if (next.id >= 0 && next.id < v.width) {
        next.choice = making.sampler->describe(logits, next.id, next.choice.origin, summary);
      }
    }
    making.frames[position]->logits = summary;
  }
}

/// What the session itself recorded says more than what can be computed from tensors.
void TraceReader::finish_pass(int pass, Making& making) const {
  const compare::TracePass& p = trace_->passes[static_cast<std::size_t>(pass)];
  if (p.first_position < 0 || p.first_position + p.n_tokens > n_positions_) {
    return;
  }
  read_records(*trace_, pass,
               std::span(making.frames)
                   .subspan(static_cast<std::size_t>(p.first_position),
                            static_cast<std::size_t>(p.n_tokens)));
  for (auto& [position, rows] : making.rows) {
    std::vector<bool>& has = making.has_rows[position];
    const bool all = std::find(has.begin(), has.end(), false) == has.end();
    making.frames[static_cast<std::size_t>(position)]->attention =
        std::make_shared<const capture::AttentionRows>(std::move(rows),
                                                       all ? std::vector<bool>() : std::move(has));
  }
  making.rows.clear();
  making.has_rows.clear();
}

TokenDetail TraceReader::detail(int position, std::uint64_t serial) const {
  TokenDetail detail;
  detail.position = position;
  detail.serial = serial;
  if (position >= 0 && static_cast<std::size_t>(position) < trace_->ids.size()) {
    detail.id = trace_->ids[static_cast<std::size_t>(position)];
  }
  detail.pass.request.tier = capture::Tier::kFull;
  detail.pass.first_position = position;
  detail.pass.n_tokens = 1;
  detail.pass.n_layers = n_layers_;
  detail.pass.n_heads = n_heads_;
  for (const TapTensor& tap : reading_.taps) {
    const auto pass = static_cast<std::size_t>(std::max(tap.pass, 0));
    const compare::TracePass& p = trace_->passes[std::min(pass, trace_->passes.size() - 1)];
    if (position < p.first_position || position >= p.first_position + p.n_tokens) {
      continue;
    }
    const auto values = compare::tap_values(*trace_, tap, trace_->model);
    if (!values.ok() || !whole(values.value())) {
      continue;
    }
    const TapValues& v = values.value();
    const int row = position - v.first_position;
    if (row < 0 || row >= v.n_rows) {
      continue;
    }
    const int keys = std::min(v.width, position + 1);
    capture::FullTensor tensor;
    tensor.tap = tap.tap;
    tensor.layer = tap.layer;
    for (int head = 0; head < v.n_heads; ++head) {
      const auto from = v.values.begin() + static_cast<std::ptrdiff_t>(v.index(head, row, 0));
      tensor.values.insert(tensor.values.end(), from, from + (v.attention ? keys : v.width));
    }
    const int parts = heads_of(tap.tap, *model_);
    if (v.attention) {
      tensor.shape = {v.n_heads, 1, keys};
    } else if (parts > 0 && v.width % parts == 0) {
      tensor.shape = {1, parts, v.width / parts};
    } else {
      tensor.shape = {1, v.width};
    }
    detail.pass.tensors.push_back(std::move(tensor));
  }
  if (detail.pass.tensors.empty()) {
    detail.error = info_.tensors.empty() ? fmt::format(
                                               "Not captured in this trace: whole tensors "
                                               "at position {}.",
                                               position)
                                         : info_.tensors;
  }
  detail.lens_error =
      "A trace holds no output head: the logit lens needs the model. Open the model and feed it "
      "the "
      "same tokens.";
  return detail;
}

std::shared_ptr<const HeadMap> TraceReader::head_map(int layer, int head, int n) const {
  if (layer < 0 || layer >= n_layers_ || head < 0 || head >= n_heads_ || n < 1 ||
      n > n_positions_) {
    return nullptr;
  }
  auto map = std::make_shared<HeadMap>();
  map->layer = layer;
  map->head = head;
  map->n_tokens = n;
  map->last_serial = serial_base_ + static_cast<std::uint64_t>(n);
  const auto side = static_cast<std::size_t>(n);
  map->probabilities.assign(side * side, 0.0F);
  bool any = false;
  for (const TapTensor& tap : reading_.taps) {
    if (tap.tap != Tap::kAttnWeights || tap.layer != layer) {
      continue;
    }
    const auto values = compare::tap_values(*trace_, tap, trace_->model);
    if (!values.ok() || !whole(values.value()) || values.value().n_heads != n_heads_) {
      continue;
    }
    const TapValues& v = values.value();
    for (int row = 0; row < v.n_rows && v.first_position + row < n; ++row) {
      const auto position = place_of(v, row);
      const auto from = v.values.begin() + static_cast<std::ptrdiff_t>(v.index(head, row, 0));
      std::copy_n(
          from,
          std::min(static_cast<std::ptrdiff_t>(v.width), static_cast<std::ptrdiff_t>(position) + 1),
          map->probabilities.begin() + static_cast<std::ptrdiff_t>(position * side));
      any = true;
    }
  }
  return any ? map : nullptr;
}

}  // namespace layerscope::session
