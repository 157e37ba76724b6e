// Importer of JSON lines: {"checkpoint","token_idx","dtype","shape","values":[first N]} per line,
// the common way of printing a few values per stage and token. Lines of one checkpoint become one
// tensor with a row per token; values beyond the first N are unknown. Lines with "ids" or
// "input_ids" give the tokens.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "engine/compare/importers.h"

namespace layerscope::compare {
namespace {

using nlohmann::json;

struct Row {
  std::int64_t width = 0;
  std::vector<float> values;
};

struct Checkpoint {
  std::string dtype;
  std::map<std::int64_t, Row> rows;  ///< by token
};

constexpr std::int64_t kMostTokens = 1 << 24;
constexpr double kDigits = 1e-6;  ///< numbers in text have six digits or more

float number(const json& value) {
  if (value.is_number()) {
    return value.get<float>();
  }
  const std::string text = value.is_string() ? value.get<std::string>() : std::string();
  if (text == "inf" || text == "Infinity") {
    return INFINITY;
  }
  return text == "-inf" || text == "-Infinity" ? -INFINITY : NAN;
}

/// Π shape of a row; −1: not a list of sizes.
std::int64_t row_width(const json& shape) {
  std::int64_t width = 1;
  constexpr std::int64_t kMost = 1 << 28;
  for (const json& d : shape) {
    if (!d.is_number_unsigned() || d.get<std::int64_t>() < 0 || d.get<std::int64_t>() > kMost ||
        width * std::max<std::int64_t>(1, d.get<std::int64_t>()) > kMost) {
      return -1;
    }
    width *= d.get<std::int64_t>();
  }
  return width;
}

/// What is wrong with the line; empty: nothing.
std::string read_checkpoint(const json& line, std::vector<std::string>& order,
                            std::map<std::string, Checkpoint>& all) {
  if (!line.contains("checkpoint") || !line["checkpoint"].is_string() || !line.contains("values") ||
      !line["values"].is_array()) {
    return "lacks \"checkpoint\" or \"values\"";
  }
  std::int64_t token = 0;
  if (line.contains("token_idx")) {
    if (!line["token_idx"].is_number_unsigned() || line["token_idx"].get<std::int64_t>() < 0 ||
        line["token_idx"].get<std::int64_t>() >= kMostTokens) {
      return "has a token_idx that is no position";
    }
    token = line["token_idx"].get<std::int64_t>();
  }
  Row row;
  for (const json& value : line["values"]) {
    row.values.push_back(number(value));
  }
  row.width = static_cast<std::int64_t>(row.values.size());
  if (line.contains("shape") && line["shape"].is_array()) {
    row.width = row_width(line["shape"]);
    if (row.width < static_cast<std::int64_t>(row.values.size())) {
      return "has more values than its shape holds";
    }
  }
  const auto name = line["checkpoint"].get<std::string>();
  if (!all.contains(name)) {
    order.push_back(name);
  }
  Checkpoint& checkpoint = all[name];
  if (!checkpoint.rows.empty() && checkpoint.rows.begin()->second.width != row.width) {
    return "has another shape than the tokens before";
  }
  if (line.contains("dtype") && line["dtype"].is_string()) {
    checkpoint.dtype = line["dtype"].get<std::string>();
  }
  checkpoint.rows[token] = std::move(row);
  return {};
}

TraceTensor make_tensor(const std::string& name, const Checkpoint& checkpoint) {
  TraceTensor tensor;
  tensor.name = name;
  tensor.dtype = checkpoint.dtype.empty() ? "F32" : checkpoint.dtype;
  const std::int64_t n = checkpoint.rows.rbegin()->first + 1;
  const std::int64_t width = checkpoint.rows.begin()->second.width;
  tensor.shape = {n, width};
  for (const auto& [token, row] : checkpoint.rows) {
    for (std::size_t i = 0; i < row.values.size(); ++i) {
      tensor.known.push_back(static_cast<std::uint64_t>(token * width) + i);
      tensor.values.push_back(row.values[i]);
      const auto size = static_cast<double>(std::fabs(row.values[i]));
      tensor.printed = std::isfinite(size) ? std::max(tensor.printed, size) : tensor.printed;
    }
  }
  tensor.printed *= kDigits;
  if (tensor.known.size() == tensor.n_elements()) {
    tensor.known.clear();
  }
  return tensor;
}

void read_ids(const json& line, Trace& trace) {
  for (const char* key : {"ids", "input_ids", "token_ids"}) {
    if (!line.contains(key) || !line[key].is_array()) {
      continue;
    }
    for (const json& id : line[key]) {
      trace.ids.push_back(id.is_number_integer() ? id.get<std::int32_t>() : -1);
    }
  }
}

}  // namespace

bool accepts_json_lines(const Source& source) {
  const std::string first = source.head.substr(0, source.head.find('\n'));
  const json line = json::parse(first, nullptr, false);
  return line.is_object() &&
         (line.contains("checkpoint") || line.contains("input_ids") || line.contains("ids"));
}

Result<Trace> import_json_lines(const Source& source) {
  LS_TRY(const std::string text, read_text(source.path));
  Trace trace;
  std::vector<std::string> order;
  std::map<std::string, Checkpoint> all;
  std::size_t number_of_line = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view raw = std::string_view(text).substr(begin, end - begin);
    begin = end + 1;
    ++number_of_line;
    if (raw.find_first_not_of(" \t\r") == std::string_view::npos) {
      continue;
    }
    const json line = json::parse(raw, nullptr, false);
    if (!line.is_object()) {
      const bool last = end == text.size();
      if (last && !all.empty()) {
        trace.notes.push_back(fmt::format("line {} is cut short and was left out", number_of_line));
        break;
      }
      return trace_error(source.path, fmt::format("line {} is not a JSON object", number_of_line));
    }
    if (!line.contains("checkpoint") && !line.contains("values")) {
      read_ids(line, trace);
      continue;
    }
    if (const std::string wrong = read_checkpoint(line, order, all); !wrong.empty()) {
      return trace_error(source.path, fmt::format("line {} {}", number_of_line, wrong));
    }
  }
  for (const std::string& name : order) {
    trace.tensors.push_back(make_tensor(name, all[name]));
  }
  if (trace.tensors.empty()) {
    return trace_error(source.path, "holds no checkpoints");
  }
  return trace;
}

}  // namespace layerscope::compare
