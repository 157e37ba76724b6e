#include "engine/cli/text_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

namespace layerscope::cli {
namespace {

using capture::FullTensor;
using capture::PassCapture;
using capture::Tap;

std::string values_text(std::span<const float> row, int most) {
  std::string text = "[";
  const auto n = std::min(row.size(), static_cast<std::size_t>(most));
  for (std::size_t i = 0; i < n; ++i) {
    text += fmt::format("{}{:.5g}", i == 0 ? "" : ", ", row[i]);
  }
  return text + (n < row.size() ? ", …]" : "]");
}

/// "norm 1.76 absmax 0.4 mean 0.001", with NaN and infinities counted.
std::string stats_text(std::span<const float> row) {
  const capture::TapStats s = capture::compute_stats(row.data(), row.size());
  std::string text = fmt::format("norm {:.5g} absmax {:.5g} mean {:.4g}", s.l2, s.absmax, s.mean);
  return s.non_finite > 0 ? text + fmt::format(" NON-FINITE {}", s.non_finite) : text;
}

}  // namespace

TextLog::TextLog(session::Generator& generator, TextLogLimits limits, std::FILE* out)
    : generator_(generator), limits_(limits), out_(out), before_(generator.capture) {}

void TextLog::attach() {
  if (limits_.passes <= 0) {
    return;
  }
  generator_.capture = {capture::Tier::kFull, limits_.first_layer, limits_.last_layer, 0xFFFFFFFFU};
  generator_.on_pass = [this](const PassCapture& captured, std::span<const float> row) {
    pass(captured, row);
  };
}

void TextLog::pass(const PassCapture& captured, std::span<const float> row) {
  open_ = passes_ < limits_.passes;
  if (!open_) {
    return;
  }
  const int last = captured.first_position + captured.n_tokens - 1;
  fmt::print(out_, "=== pass {} | {} | positions {}-{} ===\n", passes_,
             captured.n_tokens > 1 || captured.first_position == 0 ? "prefill" : "decode",
             captured.first_position, last);
  int layer = -1;
  for (const FullTensor& t : captured.tensors) {
    if (t.layer >= 0 && t.layer != layer) {
      layer = t.layer;
      fmt::print(out_, "--- layer {} ---\n", layer);
    } else if (t.layer < 0 && t.tap != Tap::kEmbedding && layer >= 0) {
      layer = -1;
      fmt::print(out_, "--- output ---\n");
    }
    tensor(t, captured);
  }
  logits(row.last(static_cast<std::size_t>(generator_.model().spec.vocab_rows)));
  if (++passes_ == limits_.passes) {
    generator_.capture = before_;
  }
}

void TextLog::tensor(const FullTensor& tensor, const PassCapture& captured) {
  if (tensor.tap == Tap::kAttnScores || tensor.tap == Tap::kAttnWeights) {
    attention(tensor, captured);
  } else if (tensor.tap != Tap::kLogits) {
    rows(tensor, captured);
  }
}

void TextLog::rows(const FullTensor& tensor, const PassCapture& captured) {
  const std::int64_t n = tensor.shape.front();
  const std::size_t width = tensor.values.size() / static_cast<std::size_t>(n);
  const std::int64_t first = captured.first_position + captured.n_tokens - n;
  for (std::int64_t t = 0; t < std::min<std::int64_t>(n, limits_.positions); ++t) {
    const auto row = std::span(tensor.values).subspan(static_cast<std::size_t>(t) * width, width);
    fmt::print(out_, "{:<13} pos {:<4} {} {}\n", capture::tap_name(tensor.tap), first + t,
               values_text(row, limits_.values), stats_text(row));
  }
}

/// Scores with their range, weights with their sum: head by head for the last logged position.
void TextLog::attention(const FullTensor& tensor, const PassCapture& captured) {
  const auto tokens = static_cast<std::size_t>(tensor.shape[1]);
  const auto keys = static_cast<std::size_t>(tensor.shape[2]);
  const std::size_t t = std::min(tokens, static_cast<std::size_t>(limits_.positions)) - 1;
  const int position = captured.first_position + static_cast<int>(t);
  for (std::int64_t head = 0; head < tensor.shape[0]; ++head) {
    const auto row = std::span(tensor.values)
                         .subspan((static_cast<std::size_t>(head) * tokens + t) * keys,
                                  static_cast<std::size_t>(position) + 1);
    double sum = 0.0;
    for (const float v : row) {
      sum += static_cast<double>(v);
    }
    const auto [low, high] = std::minmax_element(row.begin(), row.end());
    const std::string range = tensor.tap == Tap::kAttnWeights
                                  ? fmt::format("sum {:.6f} max {:.4f}", sum, *high)
                                  : fmt::format("min {:.4g} max {:.4g}", *low, *high);
    fmt::print(out_, "{:<13} pos {:<4} head {:<2} {} {}\n", capture::tap_name(tensor.tap), position,
               head, values_text(row, limits_.values), range);
  }
}

void TextLog::logits(std::span<const float> row) {
  constexpr std::size_t kTop = 5;
  std::vector<std::size_t> order(row.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  const std::size_t n = std::min(kTop, order.size());
  // NaN sorts last, so that the order stays one.
  const auto key = [&](std::size_t i) { return std::isnan(row[i]) ? -INFINITY : row[i]; };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                    [&](std::size_t a, std::size_t b) { return key(a) > key(b); });
  std::string top;
  for (std::size_t i = 0; i < n; ++i) {
    top += fmt::format(" {}:'{}'={:.4f}", order[i],
                       generator_.model().tokenizer->display(static_cast<std::int32_t>(order[i])),
                       row[order[i]]);
  }
  fmt::print(out_, "logits        {} top{}\n", stats_text(row), top);
}

void TextLog::sampled(std::int32_t id, const capture::Choice& choice) {
  if (open_) {
    fmt::print(out_,
               "sampling      token {} '{}' rank {} prob {:.5f} logit {:.4f} entropy {:.3f}\n", id,
               generator_.model().tokenizer->display(id), choice.rank, choice.prob, choice.logit,
               choice.entropy);
  }
}

}  // namespace layerscope::cli
