// The list of importers. Adding one is a line here.
#include "engine/compare/registry.h"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>

#include "engine/compare/importers.h"

namespace layerscope::compare {

const std::vector<Importer>& importers() {
  static const std::vector<Importer> list{
      {"safetensors", "*.safetensors: own traces, or tensors named by tap or by module",
       accepts_safetensors, import_safetensors},
      {"NumPy arrays", "*.npz (np.savez), named by tap or by module", accepts_npz, import_npz},
      {"NumPy array", "*.npy, the file's name says which tap", accepts_npy, import_npy},
      {"llama.cpp eval-callback text", "standard output of llama-eval-callback",
       accepts_eval_callback, import_eval_callback},
      {"transformers debug tree",
       "*_debug_tree_FULL_TENSORS.json of model_addition_debugger_context, or its folder",
       accepts_transformers, import_transformers},
      {"JSON lines", R"({"checkpoint","token_idx","dtype","shape","values"} per line)",
       accepts_json_lines, import_json_lines},
      {"logits", "llamacpp-*.bin of llama-debug --save-logits, or headerless float32",
       accepts_logits, import_logits},
  };
  return list;
}

namespace {

Result<Source> open_source(const std::string& path) {
  Source source;
  source.path = path;
  std::error_code code;
  const auto status = std::filesystem::status(source.path, code);
  if (code || !std::filesystem::exists(status)) {
    return invalid_input(fmt::format("'{}' does not exist; give a trace file or folder", path));
  }
  source.folder = std::filesystem::is_directory(status);
  if (source.folder) {
    return source;
  }
  std::ifstream in(source.path, std::ios::binary);
  if (!in) {
    return invalid_input(fmt::format("'{}' cannot be read", path));
  }
  constexpr std::size_t kHead = 65536;
  source.head.resize(kHead);
  in.read(source.head.data(), static_cast<std::streamsize>(kHead));
  source.head.resize(static_cast<std::size_t>(in.gcount()));
  return source;
}

const Importer* find_importer(const Source& source) {
  const auto& list = importers();
  const auto found = std::find_if(
      list.begin(), list.end(), [&](const Importer& importer) { return importer.accepts(source); });
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

bool is_trace(const std::string& path) {
  const auto source = open_source(path);
  return source.ok() && find_importer(source.value()) != nullptr;
}

Result<Trace> import_trace(const std::string& path) {
  LS_TRY(const Source source, open_source(path));
  const Importer* importer = find_importer(source);
  if (importer == nullptr) {
    std::string known;
    for (const Importer& one : importers()) {
      known += fmt::format("{}{}", known.empty() ? "" : "; ", one.name);
    }
    return invalid_input(fmt::format("'{}' is not a trace in a known format ({})", path, known));
  }
  LS_TRY(Trace trace, importer->read(source));
  trace.path = path;
  if (trace.format.empty()) {
    trace.format = importer->name;
  }
  guess_passes(trace);
  return trace;
}

Error trace_error(const std::filesystem::path& path, std::string_view sentence) {
  return invalid_input(fmt::format("'{}': {}", path.string(), sentence));
}

Result<std::string> read_text(const std::filesystem::path& path) {
  constexpr std::uint64_t kMost = std::uint64_t{4} << 30U;
  std::error_code code;
  const auto size = std::filesystem::file_size(path, code);
  std::ifstream in(path, std::ios::binary);
  if (code || !in) {
    return trace_error(path, "cannot be read");
  }
  if (size > kMost) {
    return trace_error(path, "is larger than 4 GiB; cut it into smaller traces");
  }
  return std::string((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
}

void guess_passes(Trace& trace) {
  if (!trace.passes.empty()) {
    return;
  }
  auto n = static_cast<std::int64_t>(trace.ids.size());
  if (n == 0) {
    std::map<std::int64_t, int> votes;
    for (const TraceTensor& tensor : trace.tensors) {
      if (tensor.shape.size() >= 2) {
        ++votes[tensor.shape[tensor.shape.size() - 2]];
      }
    }
    int best = 0;
    for (const auto& [size, count] : votes) {
      if (count > best) {
        best = count;
        n = size;
      }
    }
  }
  constexpr std::int64_t kMostTokens = 1 << 24;
  trace.passes.push_back({0, static_cast<int>(std::clamp<std::int64_t>(n, 1, kMostTokens))});
}

}  // namespace layerscope::compare
