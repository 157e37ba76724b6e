#include "engine/diagnose/fault.h"

#include <fmt/format.h>

#include <charconv>

namespace layerscope::diagnose {
namespace {

const char* argument_name(Argument argument) {
  switch (argument) {
    case Argument::kTensor:
      return "TENSOR";
    case Argument::kLayer:
      return "LAYER";
    case Argument::kHead:
      return "HEAD";
    case Argument::kIndex:
      return "INDEX";
    case Argument::kPosition:
      return "POSITION";
  }
  return "";
}

/// How many values the argument may take in this model.
int argument_limit(Argument argument, const model::DecoderSpec& spec) {
  switch (argument) {
    case Argument::kLayer:
      return spec.n_layers;
    case Argument::kHead:
      return spec.n_heads;
    case Argument::kIndex:
      return spec.hidden;
    default:
      return spec.train_context;
  }
}

std::vector<std::string> split(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    parts.emplace_back(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  return parts;
}

/// The fault that a text names, and what follows the name.
struct Named {
  const Fault* fault = nullptr;
  std::vector<std::string> parts;
};

Named find_fault(const std::string& text) {
  for (const Fault& fault : faults()) {
    const std::string_view name = fault.name;
    if (!std::string_view(text).starts_with(name)) {
      continue;
    }
    const std::string_view rest = std::string_view(text).substr(name.size());
    // A variant's arguments follow a comma, those of a plain name a colon.
    const char separator = name.find(':') != std::string_view::npos ? ',' : ':';
    if (rest.empty() || rest.front() == separator) {
      return {&fault, rest.empty() ? std::vector<std::string>{} : split(rest.substr(1))};
    }
  }
  return {};
}

Error unknown(const std::string& text) {
  std::string known;
  for (const Fault& fault : faults()) {
    known += fmt::format("{}{}", known.empty() ? "" : ", ", fault_usage(fault));
  }
  return usage_error(fmt::format("there is no fault '{}'; known are {}", text, known));
}

Result<FaultArguments> read_arguments(const Fault& fault, const std::vector<std::string>& parts,
                                      const model::Model& model) {
  if (parts.size() < fault.required || parts.size() > fault.arguments.size()) {
    return usage_error(fmt::format("fault '{}' is written {}", fault.name, fault_usage(fault)));
  }
  FaultArguments given;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Argument argument = fault.arguments[i];
    if (argument == Argument::kTensor) {
      given.tensor = parts[i];
      continue;
    }
    int value = -1;
    const char* end = parts[i].data() + parts[i].size();
    const auto read = std::from_chars(parts[i].data(), end, value);
    const int limit = argument_limit(argument, model.spec);
    if (read.ec != std::errc() || read.ptr != end || value < 0 || value >= limit) {
      return usage_error(fmt::format("{} of fault '{}' is '{}', expected 0 to {} ({})",
                                     argument_name(argument), fault.name, parts[i], limit - 1,
                                     fault_usage(fault)));
    }
    (argument == Argument::kLayer   ? given.layer
     : argument == Argument::kHead  ? given.head
     : argument == Argument::kIndex ? given.index
                                    : given.position) = value;
  }
  return given;
}

}  // namespace

std::string fault_usage(const Fault& fault) {
  std::string text = fault.name;
  const bool variant = text.find(':') != std::string::npos;
  for (std::size_t i = 0; i < fault.arguments.size(); ++i) {
    const char* separator = i == 0 && !variant ? ":" : ",";
    text += fmt::format("{}{}{}", i < fault.required ? "" : "[", separator,
                        argument_name(fault.arguments[i]));
  }
  return text + std::string(fault.arguments.size() - fault.required, ']');
}

std::string fault_example(const Fault& fault, const model::Model& model) {
  std::string text = fault.name;
  for (std::size_t i = 0; i < fault.required; ++i) {
    const Argument argument = fault.arguments[i];
    text += i == 0 ? ":" : ",";
    text += argument == Argument::kTensor
                ? "blk.0.attn_q.weight"
                : std::to_string(argument_limit(argument, model.spec) / 2);
  }
  return text;
}

Result<model::Interventions> parse_faults(std::span<const std::string> texts,
                                          const model::Model& model) {
  model::Interventions all;
  for (const std::string& text : texts) {
    const Named named = find_fault(text);
    if (named.fault == nullptr) {
      return unknown(text);
    }
    LS_TRY(const FaultArguments given, read_arguments(*named.fault, named.parts, model));
    auto made = named.fault->make(model, given);
    if (!made.ok()) {
      return made.error().with_context(fmt::format("fault '{}'", text));
    }
    all.insert(all.end(), made.value().begin(), made.value().end());
  }
  return all;
}

}  // namespace layerscope::diagnose
