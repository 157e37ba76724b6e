// The body of POST /execute: read and checked, all fields at once.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "engine/session/job.h"

namespace layerscope::server {

/// One violated constraint.
struct FieldError {
  std::string field;             ///< "temperature", "stop[2]", "body"
  std::string constraint;        ///< "0..2", "not empty", "type"
  std::string message;           ///< one sentence
  nlohmann::ordered_json value;  ///< what was given, shortened; null where there was nothing
};

struct ExecuteRequest {
  std::string job_id;
  session::JobSettings settings;
  std::vector<std::string> stop;
  bool findings = false;  ///< `capture` was asked for: findings are streamed
  bool save_trace = false;
};

struct ParsedRequest {
  ExecuteRequest request;          ///< meaningful only without errors
  std::vector<FieldError> errors;  ///< every violation
};

/// Reads a request. Fields: `job_id`, `prompt` (required); `max_tokens`, `temperature`, `seed`,
/// `top_p`, `top_k`, `min_p`, `repetition_penalty`, `stop`, `capture` ("off", "summary",
/// "attention", "full"), and beyond the contract `chat` (the prompt goes through the model's chat
/// template) and `save_trace`. Unknown fields are ignored. Lengths count characters (code points).
/// `traces`: whether this worker can save traces.
ParsedRequest parse_execute(std::string_view body, bool traces);

/// `{"errors":[{"field","constraint","message","value"}]}`
std::string errors_json(const std::vector<FieldError>& errors);

/// The `job_id` of POST /cancel, or why there is none.
struct ParsedCancel {
  std::string job_id;
  std::vector<FieldError> errors;
};
ParsedCancel parse_cancel(std::string_view body);

}  // namespace layerscope::server
