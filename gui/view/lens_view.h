// Logit lens: what each layer would answer, and how early it agrees with the last one. Pure.
#pragma once

#include <string>
#include <vector>

#include "engine/session/snapshot.h"

namespace layerscope::gui::view {

struct LensView {
  struct Row {
    std::string layer;  ///< "emb", "0", …
    const session::LensRow* row = nullptr;
    bool agrees = false;  ///< its first token is the last layer's
  };
  std::vector<Row> rows;           ///< last layer first, as one reads an answer backwards
  std::vector<float> probability;  ///< of the final token, from the embedding on
  std::vector<float> entropy;      ///< bits, likewise
  int settled = -1;  ///< first layer from which all agree; −1: the embedding already
  std::string cost;  ///< "12 ms: 4 ms token, 8 ms for 9 rows × 4,112"
};

LensView lens_view(const session::TokenDetail& detail, int vocab_rows);

/// Channels of a vector that stand out: |value| at least `factor` times the median |value|, largest
/// first, at most `most`. Non-finite ones come first of all.
struct Channel {
  int index = 0;
  float value = 0.0F;
  float times = 0.0F;  ///< |value| / median |value|; 0 where that is not a number
};
std::vector<Channel> outlier_channels(const std::vector<float>& values, float factor, int most);

/// A captured tensor of the inspected token; null when it is not there.
const capture::FullTensor* find_tensor(const session::TokenDetail* detail, capture::Tap tap,
                                       int layer);

}  // namespace layerscope::gui::view
