// The commands of layerscope-cli. Each adds its options to the parser and returns what runs it.
// Adding a command: its function here, its file, one line in app.cpp.
#pragma once

#include <functional>

#include "engine/base/result.h"

namespace CLI {
class App;
}

namespace layerscope::cli {

using Runner = std::function<Status()>;

Runner add_generate(CLI::App& app);
Runner add_inspect(CLI::App& app);
Runner add_tokenize(CLI::App& app);
Runner add_detokenize(CLI::App& app);
Runner add_diagnose(CLI::App& app);
Runner add_compare(CLI::App& app);
Runner add_bench(CLI::App& app);
Runner add_serve(CLI::App& app);
Runner add_devices(CLI::App& app);

/// The whole program: parses, runs, prints errors; the return value is the exit code.
int run(int argc, char** argv);

}  // namespace layerscope::cli
