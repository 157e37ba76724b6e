#include "engine/server/execute_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <optional>
#include <utility>

#include "engine/base/utf8.h"
#include "engine/server/limits.h"

namespace layerscope::server {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kShownChars = 100;

/// Number of code points of valid UTF-8.
std::size_t characters(std::string_view text) {
  std::size_t n = 0;
  for (const char c : text) {
    n += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U ? 1U : 0U;
  }
  return n;
}

/// The value as an error quotes it: long text is cut, lists and objects are only named, so that no
/// answer grows with its request.
ordered_json shown(const json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    if (characters(text) <= kShownChars) {
      return text;
    }
    const std::string_view head = std::string_view(text).substr(0, kShownChars);
    return std::string(head.substr(0, utf8_complete_prefix(head))) + "…";
  }
  if (value.is_structured()) {
    return fmt::format("({} of {})", value.is_array() ? "list" : "object", value.size());
  }
  return ordered_json(value);
}

/// Deepest nesting of lists and objects, found without recursion.
int depth_of(std::string_view body) {
  int depth = 0;
  int deepest = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_text) {
      i += c == '\\' ? 1 : 0;
      in_text = c != '"';
    } else if (c == '"') {
      in_text = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

/// Reads the fields of one object and collects every violation.
class Fields {
 public:
  Fields(const json& object, std::vector<FieldError>& errors) : object_(object), errors_(errors) {}

  void fail(std::string field, std::string constraint, std::string message, const json& value) {
    errors_.push_back({std::move(field), std::move(constraint), std::move(message), shown(value)});
  }

  /// Null stands for an absent field.
  [[nodiscard]] const json* find(const char* name) const {
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  void text(const char* name, std::size_t most, std::string& out) {
    const json* value = find(name);
    if (value == nullptr) {
      fail(name, "required", fmt::format("{} is missing", name), nullptr);
    } else if (!value->is_string()) {
      fail(name, "type", fmt::format("{} must be a string", name), *value);
    } else {
      out = value->get<std::string>();
      const std::size_t n = characters(out);
      if (n == 0) {
        fail(name, "not empty", fmt::format("{} must not be empty", name), *value);
      } else if (n > most) {
        fail(name, fmt::format("1..{} characters", most),
             fmt::format("{} has {} characters, at most {} are allowed", name, n, most), *value);
      }
    }
  }

  void real(const char* name, double low, double high, float& out) {
    const json* value = find(name);
    if (value == nullptr) {
      return;
    }
    const std::string range = fmt::format("{}..{}", low, high);
    if (!value->is_number()) {
      fail(name, "type", fmt::format("{} must be a number", name), *value);
      return;
    }
    const auto number = value->get<double>();
    if (!(number >= low && number <= high)) {
      fail(name, range, fmt::format("{} must be within {} to {}", name, low, high), *value);
      return;
    }
    out = static_cast<float>(number);
  }

  template <typename Int>
  void integer(const char* name, std::uint64_t low, std::uint64_t high, Int& out) {
    const json* value = find(name);
    if (value == nullptr) {
      return;
    }
    std::optional<std::uint64_t> number;
    if (value->is_number_unsigned()) {
      number = value->get<std::uint64_t>();
    } else if (!value->is_number_integer()) {
      fail(name, "type", fmt::format("{} must be an integer", name), *value);
      return;
    }
    if (!number || *number < low || *number > high) {
      fail(name, fmt::format("{}..{}", low, high),
           fmt::format("{} must be within {} to {}", name, low, high), *value);
      return;
    }
    out = static_cast<Int>(*number);
  }

  void boolean(const char* name, bool& out) {
    const json* value = find(name);
    if (value != nullptr && !value->is_boolean()) {
      fail(name, "type", fmt::format("{} must be true or false", name), *value);
    } else if (value != nullptr) {
      out = value->get<bool>();
    }
  }

  void stops(std::vector<std::string>& out) {
    const json* list = find("stop");
    if (list == nullptr) {
      return;
    }
    if (!list->is_array()) {
      fail("stop", "type", "stop must be a list of strings", *list);
      return;
    }
    if (list->size() > kMaxStops) {
      fail("stop", fmt::format("at most {}", kMaxStops),
           fmt::format("stop has {} strings, at most {} are allowed", list->size(), kMaxStops),
           *list);
      return;
    }
    for (std::size_t i = 0; i < list->size(); ++i) {
      const json& item = (*list)[i];
      const std::string field = fmt::format("stop[{}]", i);
      if (!item.is_string()) {
        fail(field, "type", fmt::format("{} must be a string", field), item);
        continue;
      }
      const std::size_t n = characters(item.get_ref<const std::string&>());
      if (n == 0 || n > kMaxStopChars) {
        fail(field, fmt::format("1..{} characters", kMaxStopChars),
             fmt::format("{} has {} characters, 1 to {} are allowed", field, n, kMaxStopChars),
             item);
        continue;
      }
      out.push_back(item.get<std::string>());
    }
  }

 private:
  const json& object_;
  std::vector<FieldError>& errors_;
};

/// The body as an object, or why it is none.
std::optional<json> parse_object(std::string_view body, std::vector<FieldError>& errors) {
  const auto fail = [&errors](const char* constraint, std::string message) {
    errors.push_back({"body", constraint, std::move(message), nullptr});
    return std::nullopt;
  };
  if (depth_of(body) > kMaxJsonDepth) {
    return fail("depth", fmt::format("the body is nested deeper than {} levels", kMaxJsonDepth));
  }
  json object;
  try {
    object = json::parse(body);
  } catch (const json::exception& error) {
    // The library's text quotes what it read last; only the place is given on.
    const auto* parse = dynamic_cast<const json::parse_error*>(&error);
    return fail("json", fmt::format("the body is not valid JSON (at byte {})",
                                    parse != nullptr ? parse->byte : 0));
  }
  if (!object.is_object()) {
    return fail("object", "the body must be a JSON object");
  }
  return object;
}

void check_job_id(Fields& fields, const std::string& id) {
  for (const char c : id) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) {
      fields.fail("job_id", "no control characters", "job_id must not contain control characters",
                  utf8_escape(id));
      return;
    }
  }
}

void read_capture(Fields& fields, ExecuteRequest& request) {
  const json* capture = fields.find("capture");
  capture::Tier tier = capture::Tier::kOff;
  if (capture != nullptr) {
    const std::string name = capture->is_string() ? capture->get<std::string>() : std::string();
    if (name == "summary") {
      tier = capture::Tier::kSummary;
    } else if (name == "attention") {
      tier = capture::Tier::kAttention;
    } else if (name == "full") {
      tier = capture::Tier::kFull;
    } else if (name != "off") {
      fields.fail("capture", "off|summary|attention|full",
                  "capture must be off, summary, attention or full", *capture);
    }
  }
  request.settings.capture.tier = tier;
  request.settings.live_checks = tier != capture::Tier::kOff;
  request.findings = tier != capture::Tier::kOff;
}

}  // namespace

ParsedRequest parse_execute(std::string_view body, bool traces) {
  ParsedRequest parsed;
  const auto object = parse_object(body, parsed.errors);
  if (!object) {
    return parsed;
  }
  ExecuteRequest& request = parsed.request;
  session::JobSettings& settings = request.settings;
  session::SamplerSettings& sampler = settings.sampler;
  Fields fields(*object, parsed.errors);
  fields.text("job_id", kMaxJobIdChars, request.job_id);
  check_job_id(fields, request.job_id);
  fields.text("prompt", kMaxPromptChars, settings.prompt);
  fields.integer("max_tokens", 1, kMaxTokens, settings.max_tokens);
  fields.real("temperature", 0.0, kMaxTemperature, sampler.temperature);
  fields.integer("seed", 0, std::numeric_limits<std::uint64_t>::max(), sampler.seed);
  fields.real("top_p", 0.0, 1.0, sampler.top_p);
  fields.integer("top_k", 0, 1'000'000'000, sampler.top_k);
  fields.real("min_p", 0.0, 1.0, sampler.min_p);
  fields.real("repetition_penalty", 0.0, kMaxRepetitionPenalty, sampler.repeat_penalty);
  // The contract allows 0: like 1 it means off. The sampler divides by nothing smaller than 0.01,
  // which as a float lies below it.
  constexpr float kSmallest = 0.0101F;
  sampler.repeat_penalty =
      sampler.repeat_penalty == 0.0F ? 1.0F : std::max(sampler.repeat_penalty, kSmallest);
  fields.stops(request.stop);
  read_capture(fields, request);
  fields.boolean("chat", settings.chat);
  fields.boolean("save_trace", request.save_trace);
  if (request.save_trace && !traces) {
    fields.fail("save_trace", "--trace-dir",
                "this worker saves no traces (it was started without --trace-dir)", true);
  }
  return parsed;
}

ParsedCancel parse_cancel(std::string_view body) {
  ParsedCancel parsed;
  if (const auto object = parse_object(body, parsed.errors)) {
    Fields fields(*object, parsed.errors);
    fields.text("job_id", kMaxJobIdChars, parsed.job_id);
  }
  return parsed;
}

std::string errors_json(const std::vector<FieldError>& errors) {
  ordered_json list = ordered_json::array();
  for (const FieldError& error : errors) {
    list.push_back({{"field", error.field},
                    {"constraint", error.constraint},
                    {"message", error.message},
                    {"value", error.value}});
  }
  return ordered_json{{"errors", list}}.dump(-1, ' ', false,
                                             ordered_json::error_handler_t::replace);
}

}  // namespace layerscope::server
