// Importers: one per format of other people's dumps, found by a file's content.
//
// Adding one: engine/compare/import_x.cpp, a line in registry.cpp, a real sample in
// tests/engine/compare.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engine/compare/trace.h"

namespace layerscope::compare {

/// A path as importers see it: what it is, and how its content begins.
struct Source {
  std::filesystem::path path;
  bool folder = false;
  std::string head;  ///< the first 64 KiB of a file
};

struct Importer {
  const char* name;  ///< "llama.cpp eval-callback text"
  const char* what;  ///< one line for lists: file names, how to make one
  bool (*accepts)(const Source&);
  Result<Trace> (*read)(const Source&);
};

/// In the order in which they are asked.
const std::vector<Importer>& importers();

/// Reads any trace. Errors (kInvalidInput): not readable, a format that no importer knows (the
/// known ones are listed), or damaged; one sentence with file, place and what to do.
Result<Trace> import_trace(const std::string& path);

/// True when some importer takes the path (a model file is not a trace).
bool is_trace(const std::string& path);

}  // namespace layerscope::compare
