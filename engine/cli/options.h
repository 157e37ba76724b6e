// What the commands of layerscope-cli share: options, loading with progress, writing files, JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "engine/base/result.h"
#include "engine/model/model.h"
#include "engine/session/generator.h"

namespace CLI {
class App;
}

namespace layerscope::cli {

/// Options that every command takes.
struct CommonOptions {
  std::string backend = "auto";
  int gpu = 0;
  bool float32 = false;
  int threads = 0;
  int context = 0;
  /// GPU memory for attention rows: a command that does not look back needs few. 0: half of what is
  /// free.
  std::uint64_t row_memory = std::uint64_t{1} << 30U;
  bool quiet = false;
  std::string log_level = "warn";
};

void add_common_options(CLI::App& command, CommonOptions& options);

/// Loads a model, with a progress bar on a terminal. The GPU starts meanwhile.
Result<std::shared_ptr<const model::Model>> load_with_progress(const std::string& path,
                                                               const CommonOptions& options);

/// A generator with the backend that the options ask for.
Result<session::Generator> make_generator(std::shared_ptr<const model::Model> model,
                                          const CommonOptions& options);

/// Writes to a temporary name beside `path` and renames, so that no partial file is left.
Status write_file(const std::string& path, std::span<const std::byte> bytes);

/// The exact bytes of a file. Error (kInvalidInput): missing, or larger than 256 MiB.
Result<std::string> read_file(const std::string& path);

/// One JSON object as one line on standard output; bytes that are not UTF-8 become U+FFFD.
void print_json_line(const nlohmann::ordered_json& value);

/// "896.0 MiB"
std::string bytes_text(std::uint64_t bytes);

}  // namespace layerscope::cli
