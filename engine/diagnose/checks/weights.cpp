// Weights: a scan of the file's tensors at load. NaN, zeros, tensors never read, corrupt norms.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "engine/diagnose/checks/checks.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

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

}  // namespace layerscope::diagnose
