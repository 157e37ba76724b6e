#include "engine/diagnose/captures.h"

#include <algorithm>

namespace layerscope::diagnose {

using capture::Tap;

Captures::Captures(std::span<const Pass> passes) : passes_(passes) {
  for (std::size_t p = 0; p < passes.size(); ++p) {
    const capture::PassCapture& captured = passes[p].captured;
    n_layers_ = captured.n_layers;
    const int end = captured.first_position + captured.n_tokens;
    pass_of_.resize(static_cast<std::size_t>(end), 0);
    std::fill(pass_of_.begin() + captured.first_position, pass_of_.end(), static_cast<int>(p));
    const auto rows = static_cast<std::size_t>(captured.n_layers) + 1;
    auto& by_place = index_.emplace_back(rows * capture::kNumTaps, nullptr);
    // Passes that kept keys and values alone are history for others, not captured in full.
    bool in_full = false;
    for (const capture::FullTensor& tensor : captured.tensors) {
      by_place[static_cast<std::size_t>(tensor.layer + 1) * capture::kNumTaps +
               static_cast<std::size_t>(tensor.tap)] = &tensor;
      in_full = in_full || (tensor.tap != Tap::kKRope && tensor.tap != Tap::kV);
    }
    for (int t = 0; in_full && t < captured.n_tokens; ++t) {
      full_.push_back(captured.first_position + t);
    }
  }
}

const capture::FullTensor* Captures::tensor(Tap tap, int layer, int position) const {
  if (position < 0 || position >= n_positions()) {
    return nullptr;
  }
  const auto pass = static_cast<std::size_t>(pass_of_[static_cast<std::size_t>(position)]);
  return index_[pass][static_cast<std::size_t>(layer + 1) * capture::kNumTaps +
                      static_cast<std::size_t>(tap)];
}

std::span<const float> Captures::row(Tap tap, int layer, int position) const {
  const capture::FullTensor* found = tensor(tap, layer, position);
  if (found == nullptr) {
    return {};
  }
  const capture::PassCapture& captured = pass(position).captured;
  // Model-wide taps after the last layer may hold only the last rows of the pass.
  const std::int64_t first = captured.first_position + captured.n_tokens - found->shape[0];
  if (position < first) {
    return {};
  }
  const std::size_t width = found->values.size() / static_cast<std::size_t>(found->shape[0]);
  return std::span(found->values)
      .subspan(static_cast<std::size_t>(position - first) * width, width);
}

std::span<const float> Captures::attention(Tap tap, int layer, int head, int position) const {
  const capture::FullTensor* found = tensor(tap, layer, position);
  if (found == nullptr) {
    return {};
  }
  const auto tokens = static_cast<std::size_t>(found->shape[1]);
  const auto keys = static_cast<std::size_t>(found->shape[2]);
  const auto t = static_cast<std::size_t>(position - pass(position).captured.first_position);
  return std::span(found->values)
      .subspan((static_cast<std::size_t>(head) * tokens + t) * keys, keys);
}

std::vector<int> Captures::sample_positions() const {
  if (full_.empty()) {
    return {};
  }
  const capture::PassCapture& first = pass(full_.front()).captured;
  std::vector<int> wanted{full_.front(), full_[std::min<std::size_t>(1, full_.size() - 1)],
                          first.first_position + first.n_tokens - 1,
                          full_[full_.size() - std::min<std::size_t>(2, full_.size())],
                          full_.back()};
  std::sort(wanted.begin(), wanted.end());
  wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  return wanted;
}

bool Captures::decoded(int position) const {
  const capture::PassCapture& captured = pass(position).captured;
  return captured.n_tokens == 1 && captured.first_position > 0;
}

}  // namespace layerscope::diagnose
