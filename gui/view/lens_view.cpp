#include "gui/view/lens_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "gui/view/text.h"

namespace layerscope::gui::view {

LensView lens_view(const session::TokenDetail& detail, int vocab_rows) {
  LensView view;
  if (detail.lens.empty()) {
    return view;
  }
  const auto& last = detail.lens.back();
  const std::int32_t answer = last.top.empty() ? -1 : last.top.front().id;
  bool all = true;
  view.settled = detail.lens.back().layer;
  for (auto row = detail.lens.rbegin(); row != detail.lens.rend(); ++row) {
    const bool agrees = !row->top.empty() && row->top.front().id == answer;
    view.rows.push_back({row->layer < 0 ? "emb" : fmt::format("{}", row->layer), &*row, agrees});
    all = all && agrees;
    if (all) {
      view.settled = row->layer;
    }
  }
  for (const session::LensRow& row : detail.lens) {
    view.probability.push_back(row.final_prob);
    view.entropy.push_back(row.entropy);
  }
  view.cost =
      fmt::format("{:.1f} ms: token {:.1f}, product of {} rows × {} {:.1f}",
                  detail.eval_ms + detail.lens_ms, detail.eval_ms, detail.lens.size(),
                  grouped(static_cast<std::uint64_t>(std::max(vocab_rows, 0))), detail.lens_ms);
  return view;
}

std::vector<Channel> outlier_channels(const std::vector<float>& values, float factor, int most) {
  std::vector<float> sizes;
  for (const float v : values) {
    if (std::isfinite(v)) {
      sizes.push_back(std::fabs(v));
    }
  }
  float median = 0.0F;
  if (!sizes.empty()) {
    const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
    std::nth_element(sizes.begin(), middle, sizes.end());
    median = *middle;
  }
  std::vector<Channel> channels;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float v = values[i];
    const bool finite = std::isfinite(v);
    if (!finite || (std::fabs(v) > 0.0F && std::fabs(v) >= factor * median)) {
      channels.push_back(
          {static_cast<int>(i), v, finite && median > 0.0F ? std::fabs(v) / median : 0.0F});
    }
  }
  std::stable_sort(channels.begin(), channels.end(), [](const Channel& a, const Channel& b) {
    const bool fa = std::isfinite(a.value);
    const bool fb = std::isfinite(b.value);
    return fa != fb ? !fa : fa && std::fabs(a.value) > std::fabs(b.value);
  });
  if (channels.size() > static_cast<std::size_t>(std::max(most, 0))) {
    channels.resize(static_cast<std::size_t>(std::max(most, 0)));
  }
  return channels;
}

const capture::FullTensor* find_tensor(const session::TokenDetail* detail, capture::Tap tap,
                                       int layer) {
  if (detail == nullptr) {
    return nullptr;
  }
  for (const capture::FullTensor& tensor : detail->pass.tensors) {
    if (tensor.tap == tap && tensor.layer == layer) {
      return &tensor;
    }
  }
  return nullptr;
}

}  // namespace layerscope::gui::view
