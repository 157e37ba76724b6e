#include "gui/view/export_text.h"

#include <fmt/format.h>

namespace layerscope::gui::view {
namespace {

/// Model, prompt, sampling that is not the default, faults.
std::string common(const session::Snapshot& s) {
  std::string line;
  if (!s.prompt.empty()) {
    line += " --prompt " + shell_quoted(s.prompt);
  }
  if (s.chat) {
    line += " --chat";
  }
  for (const std::string& fault : s.faults) {
    line += " --fault " + shell_quoted(fault);
  }
  return line;
}

std::string sampling(const session::SamplerSettings& s) {
  const session::SamplerSettings usual;
  std::string line;
  if (s.temperature > 0.0F) {
    line += fmt::format(" --temperature {:g} --top-k {} --top-p {:g} --min-p {:g} --seed {}",
                        s.temperature, s.top_k, s.top_p, s.min_p, s.seed);
  }
  if (s.repeat_penalty != usual.repeat_penalty) {
    line += fmt::format(" --repeat-penalty {:g}", s.repeat_penalty);
  }
  return line;
}

std::string backend(const session::Snapshot& s) {
  return (s.backend.empty() ? std::string() : " --backend " + s.backend) +
         (s.context > 0 ? fmt::format(" --context {}", s.context) : std::string());
}

}  // namespace

std::string shell_quoted(std::string_view argument) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,=+@%";
  if (!argument.empty() && argument.find_first_not_of(kPlain) == std::string_view::npos) {
    return std::string(argument);
  }
  std::string quoted = "'";
  for (const char c : argument) {
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return quoted + "'";
}

std::string command_line(const session::Snapshot& snapshot) {
  if (snapshot.model == nullptr) {
    return {};
  }
  int forced = 0;
  for (int i = snapshot.n_prompt(); i < snapshot.n_frames; ++i) {
    const capture::TokenFrame* frame = snapshot.frame(i);
    forced += frame != nullptr && frame->choice.origin == capture::Origin::kForced ? 1 : 0;
  }
  std::string line = "layerscope-cli generate " + shell_quoted(snapshot.model->path) +
                     common(snapshot) + fmt::format(" --tokens {}", snapshot.n_generated) +
                     sampling(snapshot.sampler) + backend(snapshot);
  if (forced > 0) {
    line += fmt::format("  # {} token{} forced by hand cannot be repeated this way", forced,
                        forced == 1 ? "" : "s");
  }
  return line;
}

std::string diagnose_command(const session::Snapshot& snapshot) {
  if (snapshot.model == nullptr) {
    return {};
  }
  return "layerscope-cli diagnose " + shell_quoted(snapshot.model->path) + common(snapshot) +
         fmt::format(" --tokens {}", snapshot.n_generated) + backend(snapshot);
}

std::string metadata_command(const session::Snapshot& snapshot) {
  return snapshot.model == nullptr ? std::string()
                                   : "layerscope-cli inspect " + shell_quoted(snapshot.model->path);
}

std::string inspect_command(const session::Snapshot& snapshot, std::string_view tensor) {
  return snapshot.model == nullptr
             ? std::string()
             : metadata_command(snapshot) + (tensor.empty() ? std::string(" --tensors")
                                                            : " --tensor " + shell_quoted(tensor));
}

std::string csv_line(std::initializer_list<std::string_view> fields) {
  std::string line;
  bool first = true;
  for (const std::string_view field : fields) {
    if (!first) {
      line += ',';
    }
    first = false;
    if (field.find_first_of(",\"\r\n") == std::string_view::npos) {
      line += field;
      continue;
    }
    line += '"';
    for (const char c : field) {
      line += c == '"' ? std::string("\"\"") : std::string(1, c);
    }
    line += '"';
  }
  return line + "\n";
}

}  // namespace layerscope::gui::view
