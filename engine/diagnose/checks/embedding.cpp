// Embedding: the captured row against the file's row of that token. Live by its statistics, in
// depth value by value.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {
namespace {

using capture::Tap;

constexpr const char* kTensor = "token_embd.weight";

const format::TensorInfo* table(const model::Model& model) {
  const format::TensorInfo* tensor = model.file->find_tensor(kTensor);
  return tensor != nullptr && tensor->shape.size() == 2 ? tensor : nullptr;
}

/// Largest |a − factor·b|, relative to the largest |b|.
double distance(std::span<const float> a, std::span<const float> b, double factor) {
  double worst = 0.0;
  double top = 1e-30;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double expected = factor * static_cast<double>(b[i]);
    worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - expected));
    top = std::max(top, std::fabs(expected));
  }
  return worst / top;
}

/// True when the values are the table's, read as [hidden, vocabulary].
bool is_column(const format::TensorInfo& tensor, std::int32_t id, std::span<const float> captured) {
  const std::uint64_t rows = tensor.shape[0];
  for (std::size_t c = 0; c < captured.size(); ++c) {
    const auto value = format::decode_values(tensor, c * rows + static_cast<std::uint64_t>(id), 1);
    if (!value.ok() || value.value().front() != captured[c]) {
      return false;
    }
  }
  return true;
}

void explain_row(const model::Model& model, const format::TensorInfo& tensor, std::int32_t id,
                 std::span<const float> captured, std::span<const float> expected, Finding& f) {
  constexpr double kSame =
      1e-5;  // rows are copies: anything but rounding of a factor is another row
  if (std::all_of(captured.begin(), captured.end(), [](float v) { return v == 0.0F; })) {
    f.cause = "embedding-zero";
    f.message = fmt::format("the embedding of token {} is all zero, the file's row is not", id);
    f.advice = "the table was not loaded, or the copy did not run";
    return;
  }
  const double factor = std::sqrt(mean_square(captured) / std::max(1e-300, mean_square(expected)));
  if (distance(captured, expected, factor) < kSame) {
    f.cause = "embedding-scaled";
    f.message = fmt::format("the embedding of token {} is {:.6g} times the file's row", id, factor);
    f.advice = "look for a factor of sqrt(hidden) that is missing or should not be there";
    return;
  }
  constexpr std::int32_t kNear = 4;
  for (std::int32_t other = std::max(0, id - kNear);
       other <= std::min(id + kNear, model.spec.vocab_rows - 1); ++other) {
    if (other != id &&
        distance(captured, tensor_row(tensor, static_cast<std::size_t>(other)), 1.0) < kSame) {
      f.cause = "embedding-wrong-row";
      f.message = fmt::format("token {} got the row of token {}", id, other);
      f.advice = "look at the index arithmetic of the gather, and at the table's offset";
      return;
    }
  }
  if (is_column(tensor, id, captured)) {
    f.cause = "transposed-weight";
    f.message = fmt::format("the embedding of token {} is read column by column", id);
    f.advice = "swap the table's dimensions: rows are tokens";
    return;
  }
  f.cause = "embedding-wrong";
  f.message = fmt::format("the embedding of token {} is not the file's row", id);
  f.advice = "look at the table's type, offset and orientation";
}

}  // namespace

void check_embedding(const LiveInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  const format::TensorInfo* tensor = table(model);
  const capture::TokenFrame& frame = *input.frames.back();
  if (tensor == nullptr || !frame.has_stats()) {
    return;
  }
  const capture::TapStats& stats = frame.stats(-1, Tap::kEmbedding);
  const std::vector<float> row = tensor_row(*tensor, static_cast<std::size_t>(frame.id));
  const double expected = std::sqrt(mean_square(row) * static_cast<double>(row.size()));
  // The norm of a copy: only the sum of squares is rounded.
  const double limit = thresholds::dot(row.size(), 0x1p-24) * expected +
                       4.0 * input.subject.unit_roundoff * expected;
  const double error = std::fabs(static_cast<double>(stats.l2) - expected);
  if (stats.count == 0 || error <= limit || stats.non_finite > 0) {
    return;
  }
  Finding f =
      finding_at(model, "embedding", stats.l2 == 0.0F ? "embedding-zero" : "embedding-wrong",
                 Tap::kEmbedding, -1, frame.position);
  f.tensor = kTensor;
  f.value = error;
  f.threshold = limit;
  f.message = fmt::format("the embedding of token {} has norm {:.5g}, the file's row has {:.5g}",
                          frame.id, stats.l2, expected);
  f.advice = "run the full diagnosis to see which row or factor it is";
  f.symptom = stats.l2 != 0.0F;
  report.add(std::move(f));
}

void check_embedding_rows(const DeepInput& input, Report& report) {
  const model::Model& model = *input.subject.model;
  const format::TensorInfo* tensor = table(model);
  if (tensor == nullptr) {
    return;
  }
  for (const int position : input.captures.full_positions()) {
    const auto captured = input.captures.row(Tap::kEmbedding, -1, position);
    const std::int32_t id = input.ids[static_cast<std::size_t>(position)];
    const std::vector<float> row = tensor_row(*tensor, static_cast<std::size_t>(id));
    const std::vector<double> expected(row.begin(), row.end());
    std::size_t worst = 0;
    double error = 0.0;
    bool bad = false;
    for (std::size_t i = 0; i < captured.size(); ++i) {
      const double tolerance = 2.0 * input.subject.unit_roundoff * std::fabs(expected[i]);
      if (!agrees(captured[i], expected[i], tolerance)) {
        bad = true;
        const double e = std::fabs(static_cast<double>(captured[i]) - expected[i]);
        if (!(e <= error)) {
          error = e;
          worst = i;
        }
      }
    }
    if (!bad) {
      continue;
    }
    Finding f = finding_at(model, "embedding", "", Tap::kEmbedding, -1, position);
    f.tensor = kTensor;
    f.value = error;
    f.threshold = 2.0 * input.subject.unit_roundoff * std::fabs(expected[worst]);
    explain_row(model, *tensor, id, captured, row, f);
    show_values(f, captured, expected, worst);
    report.add(std::move(f));
  }
}

}  // namespace layerscope::diagnose
