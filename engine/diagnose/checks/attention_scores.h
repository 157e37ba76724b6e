// ScoreSamples: attention scores of one layer against q · k of the captured history, and what
// explains those that are wrong: another scale, other KV heads, other slots, half precision.
#pragma once

#include <span>
#include <vector>

#include "engine/diagnose/check.h"

namespace layerscope::diagnose {

class ScoreSamples {
 public:
  ScoreSamples(const DeepInput& input, int layer);

  /// True when K of every position up to this one was captured and is finite.
  [[nodiscard]] bool has_history(int position) const;
  /// Compares one head's scores with the expected ones; a wrong row is kept for `explain`. False
  /// when it is wrong.
  bool compare(int head, int position, std::span<const float> scores);
  /// Reports the wrong rows under one cause.
  void explain(Report& report) const;

 private:
  struct Row {
    int head = 0, position = 0;
    std::span<const float> scores;
    std::size_t worst = 0;
    double expected = 0.0, tolerance = 0.0;
  };
  struct Named {
    const char* cause = "";
    std::string why;
    const char* advice = "";
    const Row* row = nullptr;
    int key = -1;
  };

  /// cap(factor · scale · q · k_slot) with the given KV head, and its tolerance.
  struct Score {
    double value = 0.0, tolerance = 0.0;
  };
  [[nodiscard]] Score raw_score(const Row& row, int slot, int kv_head) const;
  [[nodiscard]] Score capped(Score raw, double factor = 1.0) const;
  [[nodiscard]] Score score(const Row& row, int slot, int kv_head) const;
  [[nodiscard]] bool fits(const Row& row, int key, int slot, int kv_head) const;
  [[nodiscard]] int own_kv(int head) const;
  [[nodiscard]] std::span<const float> cached_key(int slot) const;
  [[nodiscard]] int first_key(const Row& row) const {
    return spec_.first_key(layer_, row.position);
  }

  [[nodiscard]] bool by_missing_cap(Named& named) const;
  [[nodiscard]] bool by_scale(Named& named) const;
  [[nodiscard]] bool by_kv_head(Named& named) const;
  [[nodiscard]] bool by_slots(Named& named) const;
  [[nodiscard]] bool by_half(Named& named) const;
  [[nodiscard]] bool by_half_capped(Named& named) const;

  const DeepInput& input_;
  const model::DecoderSpec& spec_;
  int layer_;
  int history_ = 0;                       ///< positions [0, history_) have a finite K
  std::vector<std::vector<float>> keys_;  ///< [history_], as the cache holds them, where rounded
  std::vector<Row> wrong_;
};

}  // namespace layerscope::diagnose
