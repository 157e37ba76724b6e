#include "engine/compare/trace_meta.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace layerscope::compare {
namespace {

using nlohmann::ordered_json;

std::string string_of(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// A number of at most `most`; `fallback` when it is missing or of another type.
std::int64_t integer_of(const ordered_json& object, const char* key, std::int64_t most,
                        std::int64_t fallback = 0) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) {
    return fallback;
  }
  const auto value = found->get<std::int64_t>();
  return value < 0 || value > most ? fallback : value;
}

double number_of(const ordered_json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0.0;
}

void read_model(const ordered_json& entry, TraceModel& model) {
  if (!entry.is_object()) {
    return;
  }
  constexpr std::int64_t kMost = 1 << 24;
  const auto size = [&](const char* key) {
    return static_cast<int>(integer_of(entry, key, kMost));
  };
  model.name = string_of(entry, "name");
  model.architecture = string_of(entry, "architecture");
  model.metadata_sha256 = string_of(entry, "metadata_sha256");
  model.quantization = string_of(entry, "quantization");
  model.n_layers = size("n_layers");
  model.n_heads = size("n_heads");
  model.n_kv_heads = size("n_kv_heads");
  model.head_dim = size("head_dim");
  model.hidden = size("hidden");
  model.ffn = size("ffn");
  model.attention_scale = number_of(entry, "attention_scale");
}

Status read_passes(const ordered_json& list, Trace& trace) {
  constexpr std::int64_t kMost = 1 << 24;
  if (!list.is_array()) {
    return invalid_input("the trace's metadata: passes is not a list");
  }
  for (const ordered_json& entry : list) {
    const std::int64_t first =
        entry.is_object() ? integer_of(entry, "first_position", kMost, -1) : -1;
    const std::int64_t n = entry.is_object() ? integer_of(entry, "n_tokens", kMost, -1) : -1;
    if (first < 0 || n < 1 ||
        (!trace.ids.empty() && first + n > static_cast<std::int64_t>(trace.ids.size()))) {
      return invalid_input(
          fmt::format("the trace's metadata: pass {} covers positions that the {} token ids do not",
                      trace.passes.size(), trace.ids.size()));
    }
    trace.passes.push_back({static_cast<int>(first), static_cast<int>(n)});
  }
  return {};
}

Status read_ids(const ordered_json& list, Trace& trace) {
  if (!list.is_array()) {
    return invalid_input("the trace's metadata: ids is not a list");
  }
  for (const ordered_json& id : list) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 ||
        id.get<std::int64_t>() > INT32_MAX) {
      return invalid_input(
          fmt::format("the trace's metadata: token id {} is not a number from 0 to {}",
                      trace.ids.size(), INT32_MAX));
    }
    trace.ids.push_back(id.get<std::int32_t>());
  }
  return {};
}

ordered_json vocabulary_json(const TraceVocabulary& vocabulary) {
  ordered_json pieces = ordered_json::array();
  for (const TraceVocabulary::Piece& piece : vocabulary.pieces) {
    pieces.push_back(ordered_json::array({piece.id, piece.text, piece.type}));
  }
  return {{"kind", vocabulary.kind},
          {"rows", vocabulary.rows},
          {"unused", vocabulary.unused},
          {"pieces", std::move(pieces)}};
}

ordered_json findings_json(const std::vector<diagnose::Finding>& findings) {
  ordered_json list = ordered_json::array();
  for (const diagnose::Finding& f : findings) {
    list.push_back({{"check", f.check},
                    {"cause", f.cause},
                    {"severity", diagnose::severity_name(f.severity)},
                    {"layer", f.layer},
                    {"head", f.head},
                    {"position", f.position},
                    {"tensor", f.tensor},
                    {"value", f.value},
                    {"threshold", f.threshold},
                    {"message", f.message},
                    {"advice", f.advice},
                    {"related", f.related}});
  }
  return list;
}

/// What does not fit is left out: a trace without texts still shows ids.
void read_vocabulary(const ordered_json& entry, TraceVocabulary& vocabulary) {
  constexpr std::int64_t kMost = 1 << 21;
  if (!entry.is_object()) {
    return;
  }
  vocabulary.kind = string_of(entry, "kind");
  vocabulary.rows = static_cast<int>(integer_of(entry, "rows", kMost));
  const auto id_of = [&](const ordered_json& value) {
    const std::int64_t id = value.is_number_integer() ? value.get<std::int64_t>() : -1;
    return id >= 0 && id < vocabulary.rows ? static_cast<std::int32_t>(id) : -1;
  };
  const auto list_of = [&](const char* key) {
    const auto found = entry.find(key);
    return found != entry.end() && found->is_array() ? *found : ordered_json::array();
  };
  for (const ordered_json& item : list_of("pieces")) {
    if (item.is_array() && item.size() == 3 && id_of(item[0]) >= 0 && item[1].is_string() &&
        item[2].is_number_integer()) {
      const auto type = item[2].get<std::int64_t>();
      vocabulary.pieces.push_back({id_of(item[0]), item[1].get<std::string>(),
                                   type >= 1 && type <= 6 ? static_cast<int>(type) : 1});
    }
  }
  for (const ordered_json& item : list_of("unused")) {
    if (item.is_array() && item.size() == 2 && id_of(item[0]) >= 0 && id_of(item[1]) >= 0) {
      vocabulary.unused.emplace_back(id_of(item[0]), id_of(item[1]));
    }
  }
}

diagnose::Severity severity_of(const std::string& name) {
  for (const auto severity : {diagnose::Severity::kInfo, diagnose::Severity::kWarning}) {
    if (name == diagnose::severity_name(severity)) {
      return severity;
    }
  }
  return diagnose::Severity::kError;
}

void read_findings(const ordered_json& list, std::vector<diagnose::Finding>& findings) {
  constexpr std::int64_t kMost = 1 << 24;
  constexpr std::size_t kMostFindings = 10000;
  if (!list.is_array()) {
    return;
  }
  for (const ordered_json& entry : list) {
    if (!entry.is_object() || findings.size() >= kMostFindings) {
      continue;
    }
    const auto place = [&](const char* key) {
      return static_cast<int>(integer_of(entry, key, kMost, -1));
    };
    diagnose::Finding& f = findings.emplace_back();
    f.check = string_of(entry, "check");
    f.cause = string_of(entry, "cause");
    f.severity = severity_of(string_of(entry, "severity"));
    f.layer = place("layer");
    f.head = place("head");
    f.position = place("position");
    f.tensor = string_of(entry, "tensor");
    f.value = number_of(entry, "value");
    f.threshold = number_of(entry, "threshold");
    f.message = string_of(entry, "message");
    f.advice = string_of(entry, "advice");
    f.serial = findings.size();
    if (entry.contains("related") && entry["related"].is_array()) {
      for (const ordered_json& line : entry["related"]) {
        if (line.is_string()) {
          f.related.push_back(line.get<std::string>());
        }
      }
    }
  }
}

}  // namespace

std::string trace_meta_text(const Trace& trace, const TraceSampler& sampler) {
  ordered_json passes = ordered_json::array();
  ordered_json kinds = ordered_json::array();
  for (const TracePass& pass : trace.passes) {
    passes.push_back({{"first_position", pass.first_position}, {"n_tokens", pass.n_tokens}});
    const bool decode = pass.n_tokens == 1 && pass.first_position > 0;
    kinds.push_back(decode ? "decode" : "prefill");
  }
  const bool eager = trace.capture == "full";
  ordered_json meta{
      {"format", kTraceFormat},
      {"model",
       {{"name", trace.model.name},
        {"metadata_sha256", trace.model.metadata_sha256},
        {"architecture", trace.model.architecture},
        {"quantization", trace.model.quantization},
        {"n_layers", trace.model.n_layers},
        {"n_heads", trace.model.n_heads},
        {"n_kv_heads", trace.model.n_kv_heads},
        {"head_dim", trace.model.head_dim},
        {"hidden", trace.model.hidden},
        {"ffn", trace.model.ffn},
        {"attention_scale", trace.model.attention_scale}}},
      {"ids", trace.ids},
      {"n_prompt", trace.n_prompt},
      {"passes", passes},
      {"sampler",
       {{"temperature", sampler.temperature},
        {"top_k", sampler.top_k},
        {"top_p", sampler.top_p},
        {"min_p", sampler.min_p},
        {"repeat_penalty", sampler.repeat_penalty},
        {"seed", sampler.seed}}},
      {"capture", trace.capture},
      {"path",
       {{"backend", trace.backend}, {"kind", kinds}, {"attention", eager ? "eager" : "fused"}}},
      {"unit_roundoff", trace.unit_roundoff},
      {"faults", trace.faults}};
  if (!trace.prompt.empty()) {
    meta["prompt"] = trace.prompt;
  }
  if (trace.vocabulary.rows > 0) {
    meta["vocabulary"] = vocabulary_json(trace.vocabulary);
  }
  if (!trace.findings.empty()) {
    meta["findings"] = findings_json(trace.findings);
  }
  return meta.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

Status read_trace_meta(const std::string& text, Trace& trace) {
  const ordered_json meta = ordered_json::parse(text, nullptr, false);
  if (meta.is_discarded() || !meta.is_object()) {
    return invalid_input("the trace's metadata (layerscope.trace) are not a JSON object");
  }
  const std::int64_t format = integer_of(meta, "format", INT32_MAX);
  if (format != kTraceFormat) {
    return invalid_input(
        fmt::format("the trace has format {}, this program reads format {}; use a matching version",
                    format, kTraceFormat));
  }
  if (meta.contains("model")) {
    read_model(meta["model"], trace.model);
  }
  if (meta.contains("ids")) {
    LS_CHECK(read_ids(meta["ids"], trace));
  }
  if (meta.contains("passes")) {
    LS_CHECK(read_passes(meta["passes"], trace));
  }
  trace.n_prompt = static_cast<std::size_t>(
      integer_of(meta, "n_prompt", static_cast<std::int64_t>(trace.ids.size())));
  trace.capture = string_of(meta, "capture");
  trace.unit_roundoff = number_of(meta, "unit_roundoff");
  if (meta.contains("path") && meta["path"].is_object()) {
    trace.backend = string_of(meta["path"], "backend");
  }
  if (meta.contains("faults") && meta["faults"].is_array()) {
    for (const ordered_json& fault : meta["faults"]) {
      if (fault.is_string()) {
        trace.faults.push_back(fault.get<std::string>());
      }
    }
  }
  trace.prompt = string_of(meta, "prompt");
  if (meta.contains("vocabulary")) {
    read_vocabulary(meta["vocabulary"], trace.vocabulary);
  }
  if (meta.contains("findings")) {
    read_findings(meta["findings"], trace.findings);
  }
  return {};
}

}  // namespace layerscope::compare
