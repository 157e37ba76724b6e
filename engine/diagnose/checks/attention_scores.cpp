#include "engine/diagnose/checks/attention_scores.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "engine/base/half.h"
#include "engine/diagnose/oracle.h"
#include "engine/diagnose/thresholds.h"

namespace layerscope::diagnose {

using capture::Tap;

namespace {
constexpr int kZeroSlot = -1;     ///< the slot reads as zero
constexpr int kUnknownSlot = -2;  ///< nothing in the history explains it
constexpr int kSearched = 512;    ///< slots searched for what a key holds
}  // namespace

ScoreSamples::ScoreSamples(const DeepInput& input, int layer)
    : input_(input), spec_(input.subject.model->spec), layer_(layer) {
  while (history_ < input.captures.n_positions()) {
    const auto k = input.captures.row(Tap::kKRope, layer, history_);
    if (k.empty() || !all_finite(k)) {
      break;
    }
    ++history_;
    if (input.subject.half_cache) {
      keys_.push_back(as_half(k));
    }
  }
}

bool ScoreSamples::has_history(int position) const {
  const auto q = input_.captures.row(Tap::kQRope, layer_, position);
  return position < history_ && !q.empty() && all_finite(q);
}

int ScoreSamples::own_kv(int head) const { return head / spec_.heads_per_kv(); }

std::span<const float> ScoreSamples::cached_key(int slot) const {
  return keys_.empty() ? input_.captures.row(Tap::kKRope, layer_, slot)
                       : std::span<const float>(keys_[static_cast<std::size_t>(slot)]);
}

ScoreSamples::Score ScoreSamples::raw_score(const Row& row, int slot, int kv_head) const {
  const auto width = static_cast<std::size_t>(spec_.head_dim);
  const auto q = input_.captures.row(Tap::kQRope, layer_, row.position)
                     .subspan(static_cast<std::size_t>(row.head) * width, width);
  const auto k = cached_key(slot).subspan(static_cast<std::size_t>(kv_head) * width, width);
  const Dot d = dot(q, k);
  const auto scale = static_cast<double>(spec_.attention_scale);
  const double u = input_.subject.unit_roundoff;
  return {d.sum * scale, thresholds::dot(width, u) * d.magnitude * scale + 1e-30};
}

ScoreSamples::Score ScoreSamples::capped(Score raw, double factor) const {
  Score s{raw.value * factor, raw.tolerance * std::fabs(factor)};
  const auto cap = static_cast<double>(spec_.attention_cap);
  if (cap > 0.0) {  // tanh is never steeper than 1, so the tolerance holds
    s.value = cap * std::tanh(s.value / cap);
    s.tolerance += thresholds::tanh(input_.subject.unit_roundoff) * std::fabs(s.value);
  }
  return s;
}

ScoreSamples::Score ScoreSamples::score(const Row& row, int slot, int kv_head) const {
  return capped(raw_score(row, slot, kv_head));
}

bool ScoreSamples::compare(int head, int position, std::span<const float> scores) {
  Row row{head, position, scores, 0, 0.0, 0.0};
  double worst = 1.0;
  bool right = true;
  for (int j = first_key(row); j <= position; ++j) {
    const Score expected = score(row, j, own_kv(head));
    const float captured = scores[static_cast<std::size_t>(j)];
    if (agrees(captured, expected.value, expected.tolerance)) {
      continue;
    }
    right = false;
    const double e = std::fabs(static_cast<double>(captured) - expected.value) / expected.tolerance;
    if (!(e <= worst)) {
      worst = std::isfinite(e) ? e : 1e300;
      row.worst = static_cast<std::size_t>(j);
      row.expected = expected.value;
      row.tolerance = expected.tolerance;
    }
  }
  if (!right) {
    wrong_.push_back(row);
  }
  return right;
}

bool ScoreSamples::by_missing_cap(Named& named) const {
  if (spec_.attention_cap == 0.0F) {
    return false;
  }
  for (const Row& row : wrong_) {
    for (int j = first_key(row); j <= row.position; ++j) {
      const Score raw = raw_score(row, j, own_kv(row.head));
      if (!agrees(row.scores[static_cast<std::size_t>(j)], raw.value, 4.0 * raw.tolerance)) {
        return false;
      }
    }
  }
  named = {"soft-cap-missing",
           fmt::format("scores go beyond the soft-cap of {:g}: they are scale · q·k as it is",
                       spec_.attention_cap),
           "apply cap · tanh(score / cap) before the mask and the soft-max", &wrong_.front(),
           static_cast<int>(wrong_.front().worst)};
  return true;
}

bool ScoreSamples::by_scale(Named& named) const {
  double xy = 0.0;
  double xx = 0.0;
  const auto cap = static_cast<double>(spec_.attention_cap);
  constexpr double kSteep = 0.95;  // nearer to the cap the score says little about q·k
  for (const Row& row : wrong_) {
    for (int j = first_key(row); j <= row.position; ++j) {
      const double e = raw_score(row, j, own_kv(row.head)).value;
      auto s = static_cast<double>(row.scores[static_cast<std::size_t>(j)]);
      if (cap > 0.0) {
        if (std::fabs(s) > kSteep * cap) {
          continue;
        }
        s = cap * std::atanh(s / cap);
      }
      xy += e * s;
      xx += e * e;
    }
  }
  const double factor = xx > 0.0 ? xy / xx : 1.0;
  if (!std::isfinite(factor) || factor == 0.0) {
    return false;
  }
  // An estimate from capped scores is as good as they are.
  const double loose = cap > 0.0 ? 1e-4 * cap : 0.0;
  for (const Row& row : wrong_) {
    for (int j = first_key(row); j <= row.position; ++j) {
      const Score e = capped(raw_score(row, j, own_kv(row.head)), factor);
      if (!agrees(row.scores[static_cast<std::size_t>(j)], e.value, 4.0 * e.tolerance + loose)) {
        return false;
      }
    }
  }
  const double root = std::sqrt(static_cast<double>(spec_.head_dim));
  const char* which = std::fabs(factor * root - 1.0) < 1e-3 ? ": 1/sqrt(head_dim) is applied twice"
                      : std::fabs(factor / root - 1.0) < 1e-3 ? ": 1/sqrt(head_dim) is missing"
                                                              : "";
  named = {"attention-scale", fmt::format("scores are {:.5g} times scale · q·k{}", factor, which),
           "scale q·k once by 1/sqrt(head_dim), as the architecture asks", &wrong_.front(),
           static_cast<int>(wrong_.front().worst)};
  return true;
}

bool ScoreSamples::fits(const Row& row, int key, int slot, int kv_head) const {
  const float captured = row.scores[static_cast<std::size_t>(key)];
  if (slot == kZeroSlot) {
    return captured == 0.0F;
  }
  const Score e = score(row, slot, kv_head);
  return agrees(captured, e.value, 4.0 * e.tolerance);
}

bool ScoreSamples::by_kv_head(Named& named) const {
  bool modulo = true;
  bool first = true;
  for (const Row& row : wrong_) {
    int found = -1;
    for (int g = 0; g < spec_.n_kv_heads && found < 0; ++g) {
      bool all = true;
      for (int j = first_key(row); j <= row.position && all; ++j) {
        all = fits(row, j, j, g);
      }
      found = all ? g : -1;
    }
    if (found < 0) {
      return false;
    }
    modulo = modulo && found == row.head % spec_.n_kv_heads;
    first = first && found == 0;
  }
  const Row& row = wrong_.front();
  const char* how = modulo  ? "query head h reads KV head h mod n_kv_heads"
                    : first ? "query heads read KV head 0"
                            : "query heads read other KV heads";
  named = {modulo  ? "gqa-modulo"
           : first ? "gqa-first"
                   : "gqa-map",
           fmt::format("{} instead of h / {}", how, spec_.heads_per_kv()),
           "consecutive query heads share a KV head: kv = h / (n_heads / n_kv_heads)", &row,
           static_cast<int>(row.worst)};
  return true;
}

bool ScoreSamples::by_slots(Named& named) const {
  // The last wrong position: all its heads together say what each slot held.
  const int position = wrong_.back().position;
  std::vector<const Row*> rows;
  for (const Row& row : wrong_) {
    if (row.position == position) {
      rows.push_back(&row);
    }
  }
  const auto holds = [&](int key, int slot) {
    return std::all_of(rows.begin(), rows.end(),
                       [&](const Row* row) { return fits(*row, key, slot, own_kv(row->head)); });
  };
  std::vector<int> holder(static_cast<std::size_t>(position) + 1, kUnknownSlot);
  const int first = spec_.first_key(layer_, position);  // older keys are not seen
  for (int key = first; key <= position; ++key) {
    int& found = holder[static_cast<std::size_t>(key)];
    for (const int slot : {key, kZeroSlot, key - 1, position, key + 1}) {
      if (found == kUnknownSlot && slot >= kZeroSlot && slot <= position && holds(key, slot)) {
        found = slot;
      }
    }
    for (int slot = 0; found == kUnknownSlot && slot <= std::min(position, kSearched); ++slot) {
      found = holds(key, slot) ? slot : kUnknownSlot;
    }
    if (found == kUnknownSlot) {
      return false;
    }
  }
  const int own = holder.back();
  int shifted = 0;
  int zero = 0;
  int newest = -1;
  int first_zero = -1;
  for (int key = first; key <= position; ++key) {
    const int slot = holder[static_cast<std::size_t>(key)];
    shifted += slot == key - 1 && key > 0 ? 1 : 0;
    zero += slot == kZeroSlot ? 1 : 0;
    first_zero = slot == kZeroSlot && first_zero < 0 ? key : first_zero;
    newest = slot == position && key < position ? key : newest;
  }
  named.row = rows.front();
  if (newest >= 0) {
    named.cause = "kv-cursor-stuck";
    named.why = fmt::format("slot {} holds the key of position {}, and {} later slots are empty",
                            newest, position, zero);
    named.advice = "advance the write position of the KV cache with every token";
    named.key = newest;
  } else if (position > first + 1 && shifted >= position - first - 1 && zero <= 1 &&
             holder[static_cast<std::size_t>(first) + 1] == first) {
    named.cause = "kv-off-by-one";
    named.why = "every slot holds the key of the position before it";
    named.advice = "write the KV cache at the position that attention reads";
    named.key = 1;
  } else if (shifted == 1 && own == position - 1) {
    named.cause = "kv-stale";
    named.why = fmt::format("slot {} still holds the key of position {} when attention reads it",
                            position, position - 1);
    named.advice = "write K and V before attention reads them (order, stream, double buffer)";
    named.key = position;
  } else if (zero > 0) {
    named.cause = "kv-zero";
    named.why =
        fmt::format("slot {} of the KV cache is empty: its key was lost or never read", first_zero);
    named.advice = "look at what clears or skips this slot";
    named.key = first_zero;
  } else {
    named.cause = "kv-slots";
    named.why = "slots of the KV cache hold keys of other positions";
    named.advice = "print slot and position at every write of the KV cache";
    named.key = static_cast<int>(rows.front()->worst);
  }
  return true;
}

bool ScoreSamples::by_half_capped(Named& named) const {
  const auto width = static_cast<std::size_t>(spec_.head_dim);
  for (const Row& row : wrong_) {
    const auto q = input_.captures.row(Tap::kQRope, layer_, row.position)
                       .subspan(static_cast<std::size_t>(row.head) * width, width);
    for (int j = first_key(row); j <= row.position; ++j) {
      const auto k =
          cached_key(j).subspan(static_cast<std::size_t>(own_kv(row.head)) * width, width);
      double sum = 0.0;
      for (std::size_t d = 0; d < width; ++d) {
        const float next = static_cast<float>(sum + static_cast<double>(q[d] * k[d]));
        sum = static_cast<double>(f16_to_f32(f32_to_f16(next)));
      }
      const Score e = capped({sum * static_cast<double>(spec_.attention_scale), 1e-30});
      if (!agrees(row.scores[static_cast<std::size_t>(j)], e.value, 4.0 * e.tolerance)) {
        return false;
      }
    }
  }
  named = {"score-float16", "q·k added up in float16 gives exactly the captured scores",
           "accumulate q·k in float32, or scale q before the product", &wrong_.front(),
           static_cast<int>(wrong_.front().worst)};
  return true;
}

bool ScoreSamples::by_half(Named& named) const {
  if (spec_.attention_cap > 0.0F) {
    return by_half_capped(named);  // the cap hides the grid of float16 numbers
  }
  const auto scale = static_cast<double>(spec_.attention_scale);
  std::size_t on_grid = 0;
  std::size_t all = 0;
  std::size_t infinite = 0;
  for (const Row& row : wrong_) {
    for (int j = first_key(row); j <= row.position; ++j) {
      const float s = row.scores[static_cast<std::size_t>(j)];
      ++all;
      if (!std::isfinite(s)) {
        ++infinite;
        continue;
      }
      const auto raw = static_cast<float>(static_cast<double>(s) / scale);
      const float half = f16_to_f32(f32_to_f16(raw));
      // A float16 value times a float32 scale: two roundings. Chance hits are below 1 in 1,000.
      on_grid += std::fabs(raw - half) <= 4e-7F * std::fabs(raw) ? 1U : 0U;
    }
  }
  if (static_cast<double>(on_grid + infinite) < 0.9 * static_cast<double>(all)) {
    return false;
  }
  named = {"score-float16",
           infinite > 0
               ? fmt::format("q·k is computed in float16 and overflows in {} places", infinite)
               : "q·k is computed in float16: every score is a float16 number",
           "accumulate q·k in float32, or scale q before the product", &wrong_.front(),
           static_cast<int>(wrong_.front().worst)};
  return true;
}

void ScoreSamples::explain(Report& report) const {
  if (wrong_.empty()) {
    return;
  }
  Named named{"scores-wrong", "scores fit no usual mistake",
              "compare q·k of one key by hand with the captured score", &wrong_.front(),
              static_cast<int>(wrong_.front().worst)};
  if (!by_missing_cap(named) && !by_scale(named) && !by_kv_head(named) && !by_slots(named)) {
    static_cast<void>(by_half(named));
  }
  const Row& row = *named.row;
  Finding f = finding_at(*input_.subject.model, "attention", named.cause, Tap::kAttnScores, layer_,
                         row.position);
  const bool one_head =
      std::all_of(wrong_.begin(), wrong_.end(), [&](const Row& r) { return r.head == row.head; });
  f.head = one_head ? row.head : -1;
  f.evidence.head = row.head;
  f.value = std::fabs(static_cast<double>(row.scores[row.worst]) - row.expected);
  f.threshold = row.tolerance;
  f.message =
      fmt::format("layer {} head {} position {}: {}", layer_, row.head, row.position, named.why);
  f.advice = named.advice;
  std::vector<double> expected;
  for (int j = 0; j <= row.position; ++j) {
    expected.push_back(j < first_key(row) ? -INFINITY : score(row, j, own_kv(row.head)).value);
  }
  show_values(f, row.scores, expected, static_cast<std::size_t>(named.key));
  f.evidence.key = named.key;
  f.evidence.index = -1;
  report.add(std::move(f));
}

}  // namespace layerscope::diagnose
