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
/// Rows are copies: anything but rounding of a factor is another row.
constexpr double kSame = 1e-5;

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
    const double e = std::fabs(static_cast<double>(a[i]) - expected);
    worst = e <= worst ? worst : e;  // a NaN stays
    top = std::max(top, std::fabs(expected));
  }
  return worst / top;
}

/// The learned position's row; zeros where positions are not learned.
std::vector<float> position_row(const model::Model& model, int position, std::size_t n) {
  const format::TensorInfo* tensor =
      model.spec.learned_positions ? model.file->find_tensor("position_embd.weight") : nullptr;
  return tensor != nullptr && position < model.spec.train_context
             ? tensor_row(*tensor, static_cast<std::size_t>(position))
             : std::vector<float>(n, 0.0F);
}

/// True when the values are the table's, read as [hidden, vocabulary], times the factor.
bool is_column(const format::TensorInfo& tensor, std::int32_t id, std::span<const float> captured,
               double factor) {
  const std::uint64_t rows = tensor.shape[0];
  std::vector<float> column;
  for (std::size_t c = 0; c < captured.size(); ++c) {
    const auto value = format::decode_values(tensor, c * rows + static_cast<std::uint64_t>(id), 1);
    column.push_back(value.ok() ? value.value().front() : NAN);
  }
  return distance(captured, column, factor) < kSame;
}

void explain_row(const model::Model& model, const format::TensorInfo& tensor, std::int32_t id,
                 std::span<const float> captured, std::span<const float> expected, Finding& f) {
  if (std::all_of(captured.begin(), captured.end(), [](float v) { return v == 0.0F; })) {
    f.cause = "embedding-zero";
    f.message = fmt::format("the embedding of token {} is all zero, the file's row is not", id);
    f.advice = "the table was not loaded, or the copy did not run";
    return;
  }
  const auto scale = static_cast<double>(model.spec.embedding_scale);
  const double factor = std::sqrt(mean_square(captured) / std::max(1e-300, mean_square(expected)));
  if (distance(captured, expected, factor) < kSame) {
    f.cause = "embedding-scaled";
    f.message = fmt::format("the embedding of token {} is {:.6g} times the file's row, not {:.6g}",
                            id, factor, scale);
    f.advice = "look for a factor of sqrt(hidden) that is missing or should not be there";
    return;
  }
  constexpr std::int32_t kNear = 4;
  for (std::int32_t other = std::max(0, id - kNear);
       other <= std::min(id + kNear, model.spec.vocab_rows - 1); ++other) {
    if (other != id &&
        distance(captured, tensor_row(tensor, static_cast<std::size_t>(other)), scale) < kSame) {
      f.cause = "embedding-wrong-row";
      f.message = fmt::format("token {} got the row of token {}", id, other);
      f.advice = "look at the index arithmetic of the gather, and at the table's offset";
      return;
    }
  }
  if (is_column(tensor, id, captured, scale)) {
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
  const std::vector<float> place = position_row(model, frame.position, row.size());
  double squares = 0.0;
  double magnitude = 0.0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    const double scaled =
        static_cast<double>(model.spec.embedding_scale) * static_cast<double>(row[i]);
    const double sum = scaled + static_cast<double>(place[i]);
    squares += sum * sum;
    magnitude += scaled * scaled + static_cast<double>(place[i]) * static_cast<double>(place[i]);
  }
  const double expected = std::sqrt(squares);
  // A copy, a product and a sum at most: the sum of squares is rounded, and each value.
  const double limit = thresholds::dot(row.size(), 0x1p-24) * expected +
                       4.0 * input.subject.unit_roundoff * std::sqrt(2.0 * magnitude);
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
    const std::vector<float> place = position_row(model, position, row.size());
    std::vector<double> expected(row.begin(), row.end());
    std::vector<double> size(row.size());
    std::vector<float> own(captured.begin(), captured.end());  // without its position
    for (std::size_t i = 0; i < row.size(); ++i) {
      const auto at = static_cast<double>(place[i]);
      const double scaled = expected[i] * static_cast<double>(model.spec.embedding_scale);
      expected[i] = scaled + at;
      size[i] = std::fabs(scaled) + std::fabs(at);
      own[i] = model.spec.learned_positions ? own[i] - place[i] : own[i];
    }
    std::size_t worst = 0;
    double error = 0.0;
    bool bad = false;
    for (std::size_t i = 0; i < captured.size(); ++i) {
      const double tolerance = 3.0 * input.subject.unit_roundoff * size[i];
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
    f.threshold = 3.0 * input.subject.unit_roundoff * size[worst];
    const bool zero =
        std::all_of(captured.begin(), captured.end(), [](float v) { return v == 0.0F; });
    explain_row(model, *tensor, id, zero ? captured : std::span<const float>(own), row, f);
    show_values(f, captured, expected, worst);
    report.add(std::move(f));
  }
}

}  // namespace layerscope::diagnose
