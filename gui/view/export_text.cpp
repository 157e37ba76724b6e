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

std::string panel_command(const session::Snapshot& snapshot, std::string_view panel, int layer,
                          std::string_view tensor, std::string_view reference) {
  if (snapshot.model == nullptr || panel == "log") {
    return {};
  }
  if (panel == "model") {
    return snapshot.recording != nullptr
               ? "layerscope-cli inspect " + shell_quoted(snapshot.recording->path)
               : metadata_command(snapshot);
  }
  const bool tap = tensor.starts_with("tap/");
  if (panel == "tensors" && !tap && snapshot.recording == nullptr) {
    return inspect_command(snapshot, tensor);
  }
  if (snapshot.recording != nullptr) {
    const std::string trace = shell_quoted(snapshot.recording->path);
    if (panel == "compare" && !reference.empty()) {
      return "layerscope-cli compare " + trace + " " + shell_quoted(reference);
    }
    if (panel == "findings" || panel == "faults") {
      return "layerscope-cli diagnose " + trace;
    }
    return "layerscope " + trace + " --offscreen 1600x1000 --screenshot layerscope.png";
  }
  if (panel == "findings" || panel == "faults") {
    return diagnose_command(snapshot);
  }
  std::string run = command_line(snapshot);
  const std::size_t remark = run.find("  # ");
  const std::string plain = run.substr(0, remark);
  const std::string note = remark == std::string::npos ? "" : run.substr(remark);
  const auto traced = [&](const char* capture, const std::string& more) {
    return fmt::format("{} --trace {}.safetensors --capture {}{}{}", plain, panel, capture, more,
                       note);
  };
  if (panel == "logits") {
    return plain + " --json" + note;
  }
  if (panel == "attention" || panel == "heads") {
    return traced("attention", "");
  }
  if (panel == "norms") {
    return traced("summary", "");
  }
  if (panel == "kv" || panel == "tensors") {  // k_rope and v are what the cache holds
    return traced("full", fmt::format(" --layers {}-{}", layer, layer));
  }
  if (panel == "compare") {
    return reference.empty()
               ? std::string()
               : fmt::format(
                     "{} --trace compare.safetensors --capture full && "
                     "layerscope-cli compare compare.safetensors {} --model {} --explain{}",
                     plain, shell_quoted(reference), shell_quoted(snapshot.model->path), note);
  }
  return run;
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
