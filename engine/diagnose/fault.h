// Faults: named bugs that can be injected on purpose, to teach, to test the checks, and to explain
// a foreign trace.
//
// A fault only says what is done to the data (model/interventions.h); checks never see it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/model/interventions.h"

namespace layerscope::diagnose {

enum class Argument : std::uint8_t { kTensor, kLayer, kHead, kIndex, kPosition };

struct FaultArguments {
  std::string tensor;
  int layer = -1, head = -1, index = -1, position = -1;  ///< −1: not given
};

struct Fault {
  const char* name;   ///< "rope:off"
  const char* title;  ///< "RoPE not applied"
  const char* story;  ///< what the bug is in practice, one or two sentences
  std::vector<Argument> arguments;
  std::size_t required = 0;  ///< the first so many must be given
  /// Error (kUsage): the model cannot have this bug, in one sentence.
  Result<model::Interventions> (*make)(const model::Model& model, const FaultArguments& given);
};

/// Every fault, in the order of the catalogue.
const std::vector<Fault>& faults();

/// "rope:off[,LAYER[,HEAD]]"
std::string fault_usage(const Fault& fault);

/// The fault with arguments that this model accepts: "nan:4", "rope:off".
std::string fault_example(const Fault& fault, const model::Model& model);

/// The interventions of `NAME[:ARG]` texts. Errors (kUsage): unknown name (the known ones are
/// listed), missing or bad argument, or a fault that this model cannot have.
Result<model::Interventions> parse_faults(std::span<const std::string> texts,
                                          const model::Model& model);

}  // namespace layerscope::diagnose
