#include "engine/session/run_faults.h"

#include <cmath>

namespace layerscope::session {
namespace {

using Kind = model::InterventionKind;

/// Top-p over a running sum of logits: with a large logit in front only that token is left, with
/// negative ones nothing is ever cut.
std::int32_t sample_top_p_of_logits(const Sampler& sampler, std::span<const float> logits,
                                    std::span<const std::int32_t> history,
                                    const SamplerSettings& settings) {
  SamplerSettings open = settings;
  open.temperature = 1.0F;
  open.top_p = 1.0F;
  open.min_p = 0.0F;
  std::vector<Candidate> list = sampler.distribution(logits, history, open);
  double sum = 0.0;
  std::size_t keep = 0;
  while (keep < list.size() && (keep == 0 || sum < static_cast<double>(settings.top_p))) {
    sum += static_cast<double>(logits[static_cast<std::size_t>(list[keep].id)]);
    ++keep;
  }
  while (keep > 1 &&
         list[keep - 1].prob < static_cast<double>(settings.min_p) * list.front().prob) {
    --keep;
  }
  double total = 0.0;
  for (std::size_t i = 0; i < keep; ++i) {
    list[i].prob =
        std::pow(list[i].prob / list[0].prob, 1.0 / static_cast<double>(settings.temperature));
    total += i == 0 ? 1.0 : list[i].prob;
  }
  list[0].prob = 1.0;
  for (std::size_t i = 0; i < keep; ++i) {
    list[i].prob /= total;
  }
  return Sampler::pick(std::span(list).first(keep), settings.seed, history.size());
}

}  // namespace

Result<std::int32_t> sample_with_faults(const Sampler& sampler,
                                        std::span<const model::Intervention> list,
                                        std::span<const float> logits,
                                        std::span<const std::int32_t> history,
                                        SamplerSettings settings) {
  if (model::find(list, Kind::kIgnoreTemperature) != nullptr) {
    settings.temperature = 1.0F;
  }
  if (model::find(list, Kind::kSamplePadding) != nullptr) {
    const Sampler all(std::vector<bool>(logits.size(), true));
    return all.sample(logits, history, settings);
  }
  const bool any = !sampler.distribution(logits, history, settings).empty();
  if (any && settings.temperature > 0.0F &&
      model::find(list, Kind::kTopPBeforeSoftmax) != nullptr) {
    return sample_top_p_of_logits(sampler, logits, history, settings);
  }
  return sampler.sample(logits, history, settings);
}

std::vector<std::int32_t> prompt_with_faults(std::span<const model::Intervention> list,
                                             std::vector<std::int32_t> ids,
                                             const tokenizer::Tokenizer& tokenizer) {
  const bool has_bos = !ids.empty() && ids.front() == tokenizer.bos();
  if (has_bos && ids.size() > 1 && model::find(list, Kind::kBosMissing) != nullptr) {
    ids.erase(ids.begin());
  }
  if (has_bos && model::find(list, Kind::kBosDouble) != nullptr) {
    ids.insert(ids.begin(), tokenizer.bos());
  }
  return ids;
}

}  // namespace layerscope::session
