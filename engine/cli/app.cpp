#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/cli/commands.h"

namespace layerscope::cli {

int run(int argc, char** argv) {
  CLI::App app("Layerscope without a window: generate, inspect, tokenize, diagnose, measure.",
               "layerscope-cli");
  app.require_subcommand(1);
  app.set_version_flag("--version", "layerscope-cli 0.1.0");
  std::vector<std::pair<const char*, Runner>> commands;
  commands.emplace_back("generate", add_generate(app));
  commands.emplace_back("inspect", add_inspect(app));
  commands.emplace_back("tokenize", add_tokenize(app));
  commands.emplace_back("detokenize", add_detokenize(app));
  commands.emplace_back("diagnose", add_diagnose(app));
  commands.emplace_back("compare", add_compare(app));
  commands.emplace_back("bench", add_bench(app));
  commands.emplace_back("serve", add_serve(app));
  commands.emplace_back("devices", add_devices(app));
  const auto is_named = [&](const auto& command) {
    return std::string_view(command.first) == argv[1];
  };
  if (argc > 1 && argv[1][0] != '-' && std::none_of(commands.begin(), commands.end(), is_named)) {
    fmt::print(stderr, "error: there is no command '{}' (see --help)\n", argv[1]);
    return exit_code(ErrorCode::kUsage);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      return app.exit(error);
    }
    fmt::print(stderr, "error: {} (see --help)\n", error.what());
    return exit_code(ErrorCode::kUsage);
  }
  for (const auto& [name, runner] : commands) {
    if (!app.got_subcommand(name)) {
      continue;
    }
    try {
      const Status status = runner();
      if (!status.ok()) {
        std::fflush(stdout);
        fmt::print(stderr, "error: {}\n", status.error().message);
        return exit_code(status.error().code);
      }
      return 0;
    } catch (const std::exception& error) {  // out of memory, a library's own exceptions
      fmt::print(stderr, "error: {}\n", error.what());
      return exit_code(ErrorCode::kInternal);
    }
  }
  return exit_code(ErrorCode::kUsage);
}

}  // namespace layerscope::cli
