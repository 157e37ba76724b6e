// Importer of the text that llama.cpp's eval-callback example prints.
//
// A tensor is a header line `NAME = (TYPE) OP(SOURCE{ne}, SOURCE1{ne}}) = {ne0, ne1, ne2, ne3}`,
// brackets with its values (first and last three of each dimension longer than six, four decimals)
// and `sum = X`. ne0 varies fastest. Until August 2025 the sum covered the printed values only,
// since then all of them; newer versions add `sum_sq`. Other lines are log output, among them
// `number of input tokens = N` with one id per line after it.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>

#include "engine/compare/importers.h"

namespace layerscope::compare {
namespace {

constexpr int kShown = 3;
constexpr double kHalfDigit = 5e-5;  ///< of "%12.4f"

std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t' || c == '\r'; };
  while (!text.empty() && blank(text.front())) {
    text.remove_prefix(1);
  }
  while (!text.empty() && blank(text.back())) {
    text.remove_suffix(1);
  }
  return text;
}

/// "{64, 11, 1, 1}" at the end of a header, fastest dimension first.
bool read_shape(std::string_view text, std::vector<std::int64_t>& shape) {
  std::vector<std::int64_t> ne;
  while (!text.empty()) {
    const std::size_t comma = text.find(',');
    const std::string_view part = trim(text.substr(0, comma));
    std::int64_t d = 0;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), d);
    if (read.ec != std::errc() || read.ptr != part.data() + part.size()) {
      return false;
    }
    ne.push_back(d);
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
  }
  shape.assign(ne.rbegin(), ne.rend());
  return ne.size() == 4;
}

/// Up to the brace that opens a shape: "blk.0.attn_q.weight{64, …" → the name.
std::string operand(std::string_view text) {
  return std::string(trim(text.substr(0, text.rfind('{'))));
}

/// A header line, or nothing.
std::optional<TraceTensor> read_header(std::string_view line) {
  const std::size_t equals = line.find(" = (");
  const std::size_t close = line.rfind("}) = {");
  if (equals == std::string_view::npos || close == std::string_view::npos || close < equals ||
      !line.ends_with('}')) {
    return std::nullopt;
  }
  TraceTensor tensor;
  std::string_view name = line.substr(0, equals);
  if (const std::size_t prefix = name.find(": "); prefix != std::string_view::npos) {
    name = name.substr(prefix + 2);  // the printing function's name
  }
  tensor.name = trim(name);
  const std::size_t type_end = line.find(')', equals);
  const std::size_t open = line.find('(', type_end);
  if (open == std::string_view::npos || open > close) {
    return std::nullopt;
  }
  tensor.dtype = line.substr(equals + 4, type_end - equals - 4);
  tensor.op = trim(line.substr(type_end + 1, open - type_end - 1));
  const std::string_view operands = line.substr(open + 1, close - open - 1);
  const std::size_t between = operands.find("}, ");
  tensor.source = operand(operands.substr(0, between));
  if (between != std::string_view::npos) {
    tensor.source1 = operand(operands.substr(between + 3));
  }
  if (!read_shape(line.substr(close + 6, line.size() - close - 7), tensor.shape)) {
    return std::nullopt;
  }
  tensor.printed =
      tensor.dtype == "f32" || tensor.dtype == "f16" || tensor.dtype == "bf16" ? kHalfDigit : 0.0;
  return tensor;
}

/// Reads one log; holds the tensor in hand.
class Reader {
 public:
  Reader(const std::filesystem::path& path, Trace& trace) : path_(path), trace_(trace) {}

  Status run(std::string_view text) {
    while (!text.empty()) {
      const std::size_t end = text.find('\n');
      ++line_;
      last_line_whole_ = end != std::string_view::npos;
      LS_CHECK(read_line(text.substr(0, end)));
      text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    }
    finish_tensor(true);
    if (trace_.tensors.empty()) {
      return trace_error(
          path_, damaged_.empty() ? "holds no whole tensor" : "holds no whole tensor: " + damaged_);
    }
    return {};
  }

 private:
  Status read_line(std::string_view raw) {
    const std::string_view line = trim(raw);
    if (auto header = read_header(line)) {
      finish_tensor(false);
      auto shown = shown_indices(header->shape, kShown);
      if (!shown.ok()) {
        return trace_error(path_, fmt::format("line {}: tensor '{}': {}", line_, header->name,
                                              shown.error().message));
      }
      tensor_ = std::move(header);
      expected_ = std::move(shown).value();
      first_line_ = line_;
      has_sum_ = false;
      broken_ = false;
      return {};
    }
    if (line.starts_with("sum")) {
      read_sum(line);
    } else if (tensor_ && (line.starts_with('[') || line.starts_with("...,"))) {
      read_values(line);
    } else if (const std::size_t at = line.find("number of input tokens = ");
               at != std::string_view::npos) {
      ids_left_ = std::atoi(std::string(line.substr(at + 25)).c_str());  // NOLINT: digits or 0
    } else if (ids_left_ > 0) {
      read_id(line);
    }
    return {};
  }

  void read_values(std::string_view line) {
    std::size_t i = 0;
    while (i < line.size()) {
      const char c = line[i];
      const bool starts = c == '-' || (c >= '0' && c <= '9') || c == 'n' || c == 'i';
      if (!starts) {
        ++i;
        continue;
      }
      const std::size_t end = std::min(line.find_first_of(",] ", i), line.size());
      const std::string word(line.substr(i, end - i));
      char* rest = nullptr;
      const float value = std::strtof(word.c_str(), &rest);
      const std::size_t dot = word.find('.');
      const bool whole = dot == std::string::npos ? !std::isfinite(value) || tensor_->printed == 0.0
                                                  : word.size() - dot == 5;
      broken_ = broken_ || *rest != '\0' || !whole || end == line.size();
      tensor_->values.push_back(value);
      i = end;
    }
  }

  void read_sum(std::string_view line) {
    const std::size_t equals = line.find('=');
    if (!tensor_ || equals == std::string_view::npos || line.starts_with("sum_sq") ||
        (!last_line_whole_)) {
      return;
    }
    tensor_->sum = std::strtod(std::string(trim(line.substr(equals + 1))).c_str(), nullptr);
    has_sum_ = true;
  }

  /// An id per line, after whatever prefix the log has.
  void read_id(std::string_view line) {
    const std::size_t digits = line.find_last_not_of("0123456789");
    const std::string_view tail = digits == std::string_view::npos ? line : line.substr(digits + 1);
    int id = 0;
    if (tail.empty() ||
        std::from_chars(tail.data(), tail.data() + tail.size(), id).ec != std::errc()) {
      ids_left_ = 0;
      return;
    }
    trace_.ids.push_back(id);
    --ids_left_;
  }

  void finish_tensor(bool at_end) {
    if (!tensor_) {
      return;
    }
    const bool quantised = tensor_->values.empty() && !has_sum_ && !at_end;
    if (!broken_ && has_sum_ && tensor_->values.size() == expected_.size()) {
      if (expected_.size() < tensor_->n_elements()) {
        tensor_->known = std::move(expected_);
      }
      trace_.tensors.push_back(std::move(*tensor_));
    } else if (!quantised) {
      damaged_ = fmt::format("the text of tensor '{}' (line {}) is {}: {} of {} values and {} sum",
                             tensor_->name, first_line_, at_end ? "cut short" : "damaged",
                             tensor_->values.size(), expected_.size(), has_sum_ ? "a" : "no");
      trace_.notes.push_back(damaged_ + "; it was left out");
    }
    tensor_.reset();
  }

  const std::filesystem::path& path_;
  Trace& trace_;
  std::optional<TraceTensor> tensor_;
  std::vector<std::uint64_t> expected_;
  std::string damaged_;
  std::size_t line_ = 0, first_line_ = 0;
  int ids_left_ = 0;
  bool has_sum_ = false, broken_ = false, last_line_whole_ = true;
};

/// Old versions summed what they printed: then the sums say nothing more than the values, and are
/// dropped. Told apart by tensors that show only a part.
void settle_sums(Trace& trace) {
  int printed_only = 0;
  int all = 0;
  for (const TraceTensor& tensor : trace.tensors) {
    if (tensor.known.empty() || !tensor.sum) {
      continue;
    }
    double sum = 0.0;
    for (const float v : tensor.values) {
      sum += static_cast<double>(v);
    }
    const auto n = static_cast<double>(tensor.values.size());
    const bool same = std::fabs(sum - *tensor.sum) <= kHalfDigit * n + 1e-6 * std::fabs(sum);
    ++(same ? printed_only : all);
  }
  if (printed_only <= all) {
    return;
  }
  for (TraceTensor& tensor : trace.tensors) {
    tensor.sum.reset();
  }
  trace.notes.emplace_back(
      "the sums cover only the printed values (llama.cpp before August 2025), so what is not "
      "printed is not compared");
}

}  // namespace

bool accepts_eval_callback(const Source& source) {
  std::string_view text = source.head;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    if (read_header(trim(text.substr(0, end)))) {
      return true;
    }
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
  }
  return false;
}

Result<Trace> import_eval_callback(const Source& source) {
  LS_TRY(const std::string text, read_text(source.path));
  Trace trace;
  LS_CHECK(Reader(source.path, trace).run(text));
  settle_sums(trace);
  const bool ends = std::any_of(trace.tensors.begin(), trace.tensors.end(), [](const auto& t) {
    return t.name == "result_output" || t.name == "result_embd";
  });
  if (!ends && trace.notes.empty()) {
    trace.notes.push_back(
        fmt::format("the text ends after tensor '{}', before the logits: it is cut short or was "
                    "filtered",
                    trace.tensors.back().name));
  }
  const TraceTensor& first = trace.tensors.front();  // the embedding: [1, 1, tokens, hidden]
  constexpr std::int64_t kMostTokens = 1 << 24;
  if (first.shape[2] >= 1 && first.shape[2] <= kMostTokens) {
    trace.passes.push_back({0, static_cast<int>(first.shape[2])});
  }
  if (trace.ids.size() != static_cast<std::size_t>(first.shape[2])) {
    trace.ids.clear();
  }
  return trace;
}

}  // namespace layerscope::compare
