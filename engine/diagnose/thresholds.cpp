#include "engine/diagnose/thresholds.h"

#include <array>
#include <utility>

namespace layerscope::diagnose::thresholds {
namespace {

constexpr std::array kSources{
    std::pair{"weights",
              "measured: norms of healthy files stay within 3.1 times their median; NaN and zeros "
              "have no tolerance"},
    std::pair{"tokens", "exact: ids are compared one by one"},
    std::pair{"embedding", "derived: the file's row, rounded once"},
    std::pair{"non-finite", "exact: no value may be NaN or infinite"},
    std::pair{"norm", "derived: roundings of one normalised value"},
    std::pair{"projection",
              "derived: rounding of a dot product, 8 standard deviations (Higham & Mary 2019)"},
    std::pair{"rope", "derived: roundings of cosine, sine and a rotation"},
    std::pair{"row-sum", "derived: roundings of the probabilities and of their sum"},
    std::pair{"attention", "derived: rounding of dot products and of a soft-max"},
    std::pair{"residual", "derived: rounding of one addition"},
    std::pair{"experts", "derived: rounding of dot products and of a soft-max; choices are exact"},
    std::pair{"activation", "derived: roundings of the activation and of a product"},
    std::pair{"head",
              "derived: rounding of a dot product, 8 standard deviations (Higham & Mary 2019)"},
    std::pair{"logits", "exact for padding; equal logits: rounding of equal sums"},
    std::pair{"sampling", "exact: the filters' own limits, probabilities rounded to float32"},
    std::pair{"sampler",
              "derived: a likelihood ratio of e^16, or probabilities rounded to float32"},
    std::pair{"consistency",
              "measured: five times what healthy passes differ; exact where bits must agree"},
    std::pair{"repetition", "measured: repetition on request stays below it"},
    std::pair{"instrument", "exact for copies; recomputed rows: rounding of a soft-max"},
};

}  // namespace

std::string_view source_of(std::string_view check) {
  for (const auto& [name, source] : kSources) {
    if (check == name) {
      return source;
    }
  }
  return {};
}

}  // namespace layerscope::diagnose::thresholds
