#include "gui/app/settings.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

namespace layerscope::gui {
namespace {

using Json = nlohmann::json;

template <typename T>
void read_number(const Json& json, const char* key, T low, T high, T& value) {
  const auto it = json.find(key);
  if (it != json.end() && it->is_number()) {
    const auto read = it->get<double>();
    if (read >= static_cast<double>(low) && read <= static_cast<double>(high)) {
      value = static_cast<T>(read);
    }
  }
}

void read_bool(const Json& json, const char* key, bool& value) {
  const auto it = json.find(key);
  if (it != json.end() && it->is_boolean()) {
    value = it->get<bool>();
  }
}

}  // namespace

std::string settings_path() {
  const char* config = std::getenv("XDG_CONFIG_HOME");
  if (config != nullptr && config[0] == '/') {
    return std::string(config) + "/layerscope/settings.json";
  }
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') {
    return std::string(home) + "/.config/layerscope/settings.json";
  }
  return {};
}

Result<StoredState> parse_settings(std::string_view text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return invalid_input("it is not a JSON object");
  }
  StoredState state;
  Settings& s = state.settings;
  read_number(json, "color_map", 0, 3, s.color_map);
  read_bool(json, "dark", s.dark);
  read_number(json, "font_scale", 0.5F, 3.0F, s.font_scale);
  read_bool(json, "log_attention", s.log_attention);
  read_bool(json, "show_scores", s.show_scores);
  read_bool(json, "lens", s.lens);
  read_number(json, "pace", 0.0F, 1000.0F, s.pace);
  read_number(json, "replay_pace", 0.0F, 1000.0F, s.replay_pace);
  read_number(json, "token_color", 0, 3, s.token_color);
  read_number(json, "norms_tap", 0, 64, s.norms_tap);
  read_number(json, "norms_statistic", 0, 1, s.norms_statistic);
  read_bool(json, "norms_linear", s.norms_linear);
  if (const auto it = json.find("last_folder"); it != json.end() && it->is_string()) {
    s.last_folder = it->get<std::string>();
  }
  if (const auto it = json.find("recent"); it != json.end() && it->is_array()) {
    for (const Json& entry : *it) {
      if (entry.is_string() && s.recent.size() < kMaxRecent) {
        s.recent.push_back(entry.get<std::string>());
      }
    }
  }
  if (const auto it = json.find("layout"); it != json.end() && it->is_object()) {
    read_number(*it, "left", 0.0F, 4000.0F, state.layout.left);
    read_number(*it, "right", 0.0F, 4000.0F, state.layout.right);
    read_number(*it, "bottom", 0.0F, 4000.0F, state.layout.bottom);
  }
  if (const auto it = json.find("window"); it != json.end() && it->is_object()) {
    read_number(*it, "width", 320, 16384, state.window_width);
    read_number(*it, "height", 240, 16384, state.window_height);
  }
  return state;
}

std::string format_settings(const StoredState& state) {
  const Settings& s = state.settings;
  const Json json{
      {"color_map", s.color_map},
      {"dark", s.dark},
      {"font_scale", s.font_scale},
      {"log_attention", s.log_attention},
      {"show_scores", s.show_scores},
      {"lens", s.lens},
      {"pace", s.pace},
      {"replay_pace", s.replay_pace},
      {"token_color", s.token_color},
      {"norms_tap", s.norms_tap},
      {"norms_statistic", s.norms_statistic},
      {"norms_linear", s.norms_linear},
      {"last_folder", s.last_folder},
      {"recent", s.recent},
      {"layout",
       {{"left", state.layout.left},
        {"right", state.layout.right},
        {"bottom", state.layout.bottom}}},
      {"window", {{"width", state.window_width}, {"height", state.window_height}}},
  };
  // Paths need not be valid UTF-8: such bytes are replaced instead of losing the whole file.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

StoredState load_settings(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return {};
  }
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  auto state = parse_settings(text);
  if (!state.ok()) {
    // What is saved later must not be the end of what somebody wrote by hand.
    const std::string kept = path + ".broken";
    std::error_code failed;
    std::filesystem::rename(path, kept, failed);
    spdlog::warn("settings in {} are ignored: {}{}", path, state.error().message,
                 failed ? std::string() : fmt::format("; they are kept in {}", kept));
    return {};
  }
  return std::move(state).value();
}

Status save_settings(const std::string& path, const StoredState& state) {
  namespace fs = std::filesystem;
  std::error_code failed;
  fs::create_directories(fs::path(path).parent_path(), failed);
  const std::string temporary = path + ".part";
  {
    std::ofstream file(temporary, std::ios::binary | std::ios::trunc);
    file << format_settings(state);
    file.close();
    if (!file) {
      return invalid_input(fmt::format("cannot write settings to {}", temporary));
    }
  }
  fs::rename(temporary, path, failed);
  if (failed) {
    return invalid_input(fmt::format("cannot write settings to {}: {}", path, failed.message()));
  }
  return {};
}

void remember_file(Settings& settings, const std::string& path) {
  auto& recent = settings.recent;
  recent.erase(std::remove(recent.begin(), recent.end(), path), recent.end());
  recent.insert(recent.begin(), path);
  if (recent.size() > kMaxRecent) {
    recent.resize(kMaxRecent);
  }
}

}  // namespace layerscope::gui
