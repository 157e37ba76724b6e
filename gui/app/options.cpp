#include "gui/app/options.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdlib>
#include <utility>

#include "engine/session/trace_session.h"
#include "gui/app/script.h"

namespace layerscope::gui {
namespace {

Status check(Options& options, const std::string& size) {
  if (!size.empty()) {
    LS_TRY(const auto parsed, parse_size(size));
    options.offscreen = true;
    options.width = parsed.first;
    options.height = parsed.second;
  }
  if (!options.attach.empty() && !options.model.empty()) {
    return usage_error("--attach shows a worker's model: leave MODEL away");
  }
  if (!options.token_file.empty() && options.attach.empty()) {
    return usage_error("--token-file belongs to --attach URL");
  }
  if (options.exit_after >= 0 && options.model.empty() && options.attach.empty()) {
    return usage_error("--exit-after needs a MODEL to generate with");
  }
  const bool recorded = !options.model.empty() && session::opens_as_trace(options.model);
  if (options.exit_after >= 0 && !options.has_prompt && !recorded) {
    return usage_error("--exit-after needs --prompt TEXT");
  }
  if (options.has_prompt && recorded) {
    return usage_error(fmt::format("{} is a recording: leave --prompt away", options.model));
  }
  if (options.exit_after >= 0 && !options.script.empty()) {
    return usage_error("--exit-after and --script exclude each other");
  }
  if (options.offscreen && options.script.empty() && options.exit_after < 0 &&
      options.screenshot.empty()) {
    return usage_error("--offscreen needs something to do: --script, --exit-after or --screenshot");
  }
  return {};
}

/// "submit:40" → the 40th submission finds the device lost.
Result<LossPlan> parse_loss(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string name = text.substr(0, colon);
  LossPlan plan;
  for (const auto& [word, call] :
       {std::pair{"none", DeviceCall::kNone}, std::pair{"create", DeviceCall::kCreate},
        std::pair{"submit", DeviceCall::kSubmit}, std::pair{"present", DeviceCall::kPresent},
        std::pair{"wait", DeviceCall::kWait}}) {
    if (name == word) {
      plan.call = call;
      const char* end = text.data() + text.size();
      if (colon == std::string::npos) {
        return plan;
      }
      const auto [stop, code] = std::from_chars(text.data() + colon + 1, end, plan.at);
      if (code == std::errc() && stop == end && plan.at > 0) {
        return plan;
      }
    }
  }
  return usage_error(fmt::format(
      "--lose-device {}: give none, create, submit, present or wait, with :N for the N-th call",
      text));
}

}  // namespace

Result<std::optional<Options>> parse_options(int argc, const char* const* argv) {
  Options options;
  std::string size;
  CLI::App app{"Layerscope: an oscilloscope for transformer inference.", "layerscope"};
  app.add_option("MODEL", options.model, "model file to open");
  app.add_option("--attach", options.attach, "http://HOST:PORT of a worker to show");
  app.add_option("--token-file", options.token_file, "file with that worker's bearer token");
  auto* prompt = app.add_option("--prompt", options.prompt, "prompt to set");
  app.add_flag("--chat", options.chat, "put the prompt into the model's chat template");
  app.add_option("--backend", options.backend, "auto, cpu or cuda")
      ->check(CLI::IsMember({"auto", "cpu", "cuda"}));
  app.add_option("--gpu", options.gpu, "number of the GPU that computes")
      ->check(CLI::Range(0, 1024));
  app.add_option("--context", options.context, "positions of the KV cache; 0: the model's own")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--threads", options.threads, "processor threads; 0: all")
      ->check(CLI::Range(0, 4096));
  app.add_option("--history-memory", options.history_memory,
                 "memory for everything captured (2G, 512M); 0: a quarter of the machine's")
      ->transform(CLI::AsSizeValue(false));
  app.add_option("--offscreen", size, "WxH: render into an image, without a display");
  app.add_option("--script", options.script, "file with user actions to perform")
      ->check(CLI::ExistingFile);
  app.add_option("--script-output", options.script_output, "folder for a script's screenshots")
      ->capture_default_str();
  app.add_option("--script-timeout", options.script_timeout, "seconds for a script's waits")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  app.add_option("--screenshot", options.screenshot, "PNG to save before leaving");
  app.add_option("--exit-after", options.exit_after, "generate N tokens, say how it went, leave")
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--rounds", options.rounds,
                 "with --exit-after: so many times from the prompt on, past ends of text; the "
                 "speed is that of all")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  app.add_option("--frames-per-s", options.frames_per_s, "draw at most so many frames a second")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--draw-with", options.draw_with,
                 "what draws the window: tiles (compute shaders), raster or auto")
      ->check(CLI::IsMember({"auto", "tiles", "raster"}))
      ->capture_default_str();
  app.add_flag("--no-interop", options.no_interop, "copy data to the graphics device by staging");
  app.add_flag("--validation", options.validation, "run Vulkan's validation layer");
  app.add_flag("--settings", options.settings,
               "use the stored settings in an offscreen or scripted run too");
  app.add_option("--scale", options.scale, "scale of the interface, 1 at 96 dpi")
      ->check(CLI::Range(0.5, 4.0));
  std::vector<std::string> losses;
  app.add_option("--lose-device", losses)->group("");  // for tests: not in the help
  auto* log_level =
      app.add_option("--log-level", options.log_level, "trace, debug, info, warn, error or off")
          ->capture_default_str();
  app.set_version_flag("--version", "layerscope " LS_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {
      app.exit(error);
      return std::optional<Options>();
    }
    return usage_error(fmt::format("{} (layerscope --help lists the options)", error.what()));
  }
  options.has_prompt = prompt->count() > 0;
  if (const char* value = std::getenv("LS_VALIDATION"); value != nullptr && value[0] == '1') {
    options.validation = true;
  }
#ifndef NDEBUG
  options.validation = true;
#endif
  for (const std::string& loss : losses) {
    LS_TRY(const LossPlan plan, parse_loss(loss));
    options.lose_device.push_back(plan);
  }
  LS_CHECK(check(options, size));
  // A task says what went wrong itself, in one sentence.
  if (log_level->count() == 0 && options.unattended() && options.script.empty() &&
      !options.validation) {
    options.log_level = "off";
  }
  return std::optional<Options>(std::move(options));
}

}  // namespace layerscope::gui
