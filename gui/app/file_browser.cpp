#include "gui/app/file_browser.h"

#include <fmt/format.h>
#include <imgui_stdlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>

#include "engine/base/utf8.h"
#include "engine/format/model_folder.h"
#include "gui/app/theme.h"
#include "gui/panels/widgets.h"

namespace layerscope::gui {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTitle = "Open a model or a trace###browser";
constexpr const char* kReferenceTitle = "Choose what to compare with###browser";
constexpr double kTypingPause = 1.0;  ///< seconds after which typing starts a new search

std::string join(const std::string& folder, const std::string& name) {
  return (fs::path(folder) / name).string();
}

bool is_folder(const std::string& path) {
  std::error_code failed;
  return fs::is_directory(path, failed);
}

std::string expand_home(const std::string& path) {
  const char* home = std::getenv("HOME");
  if (home != nullptr && (path == "~" || path.starts_with("~/"))) {
    return home + path.substr(1);
  }
  return path;
}

}  // namespace

void FileBrowser::open(const std::string& folder, const std::vector<std::string>& recent,
                       BrowserPurpose purpose) {
  if (purpose != purpose_) {
    filter_ = static_cast<int>(purpose == BrowserPurpose::kReference ? BrowserFilter::kTraces
                                                                     : BrowserFilter::kModels);
  }
  purpose_ = purpose;
  visible_ = true;
  opening_ = true;
  chosen_.clear();
  available_ = available_memory();
  std::error_code failed;
  const std::string working = fs::current_path(failed).string();
  places_.clear();
  const auto add = [this](const std::string& name, const std::string& place) {
    const bool known = std::any_of(places_.begin(), places_.end(),
                                   [&place](const auto& p) { return p.second == place; });
    if (!place.empty() && !known && is_folder(place)) {
      places_.emplace_back(name, place);
    }
  };
  if (const char* home = std::getenv("HOME"); home != nullptr) {
    add("Home", home);
    add("Downloads", std::string(home) + "/Downloads");
    add("Model cache", std::string(home) + "/.cache/huggingface/hub");
    add("Models", std::string(home) + "/models");
  }
  add("Working folder", working);
  add("Demo", working + "/assets/demo");
  for (const std::string& file : recent) {
    const fs::path parent = fs::path(file).parent_path();
    add(parent.filename().string(), parent.string());
  }
  add("Computer", "/");
  go_to(is_folder(folder) ? folder : working);
}

void FileBrowser::go_to(const std::string& folder) {
  std::string clean = fs::path(folder).lexically_normal().string();
  if (clean.size() > 1 && clean.ends_with('/')) {
    clean.pop_back();
  }
  folder_ = clean;
  path_text_ = clean == "/" ? clean : clean + "/";
  error_.clear();
  listing_ = true;
  all_.clear();
  shown_.clear();
  select(-1);
  worker_.list(folder_);
}

void FileBrowser::select(int index) {
  selected_ = index;
  std::string path;
  if (index >= 0) {
    const BrowserEntry& entry = shown_[static_cast<std::size_t>(index)];
    const std::string whole = join(folder_, entry.name);
    path = !entry.folder || format::model_folder_of(whole) ? whole : "";
  }
  if (path != preview_path_) {
    preview_path_ = path;
    preview_.reset();
    if (!path.empty()) {
      worker_.preview(path);
    }
  }
  if (index >= 0) {
    path_text_ = join(folder_, shown_[static_cast<std::size_t>(index)].name);
  }
}

void FileBrowser::activate(int index) {
  if (index < 0) {
    return;
  }
  const BrowserEntry entry = shown_[static_cast<std::size_t>(index)];
  const std::string path = join(folder_, entry.name);
  if (entry.folder && !format::model_folder_of(path)) {  // a model folder opens as one model
    go_to(path);
  } else {
    chosen_ = path;
  }
}

void FileBrowser::open_path_field() {
  std::error_code failed;
  const std::string path = expand_home(path_text_);
  const std::string whole = path.starts_with('/') ? path : join(folder_, path);
  if (is_folder(whole) && (whole.ends_with('/') || !format::model_folder_of(whole))) {
    go_to(whole);
  } else if (fs::exists(whole, failed)) {
    chosen_ = whole;
  } else {
    error_ = fmt::format("There is no file {}", whole);
  }
}

std::string FileBrowser::complete_path(const std::string& typed) const {
  const std::string path = expand_home(typed);
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? folder_ : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  // One folder is read here, at a key press of the user; its names alone, nothing is opened.
  std::vector<BrowserEntry> entries;
  std::error_code failed;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    std::error_code ignored;
    entries.push_back(
        BrowserEntry{it->path().filename().string(), it->is_directory(ignored), 0, 0});
  }
  return (slash == std::string::npos ? "" : folder) + complete_name(entries, name);
}

void FileBrowser::rearrange() {
  const std::string keep =
      selected_ >= 0 ? shown_[static_cast<std::size_t>(selected_)].name : pending_select_;
  shown_ = arrange(all_, static_cast<BrowserFilter>(filter_), sort_, descending_);
  selected_ = -1;
  for (std::size_t i = 0; i < shown_.size(); ++i) {
    if (!keep.empty() && shown_[i].name == keep) {
      select(static_cast<int>(i));
    }
  }
}

void FileBrowser::take_results() {
  if (auto listing = worker_.take_listing(); listing && listing->folder == folder_) {
    listing_ = false;
    all_ = std::move(listing->entries);
    error_ = std::move(listing->error);
    rearrange();
    pending_select_.clear();
  }
  if (auto preview = worker_.take_preview(); preview && preview->path == preview_path_) {
    preview_ = std::move(preview);
  }
}

void FileBrowser::keyboard(Ui& ui) {
  const ImGuiIO& io = ImGui::GetIO();
  if (io.WantTextInput || path_active_) {
    return;
  }
  const int last = static_cast<int>(shown_.size()) - 1;
  const auto move = [this, last](int to) {
    if (last >= 0) {
      select(std::clamp(to, 0, last));
      scroll_to_selected_ = true;
    }
  };
  if (ImGui::IsKeyPressed(ImGuiKey_DownArrow)) {
    move(selected_ + 1);
  } else if (ImGui::IsKeyPressed(ImGuiKey_UpArrow)) {
    move(selected_ < 0 ? last : selected_ - 1);
  } else if (ImGui::IsKeyPressed(ImGuiKey_PageDown)) {
    move(selected_ + 12);
  } else if (ImGui::IsKeyPressed(ImGuiKey_PageUp)) {
    move(selected_ - 12);
  } else if (ImGui::IsKeyPressed(ImGuiKey_Home)) {
    move(0);
  } else if (ImGui::IsKeyPressed(ImGuiKey_End)) {
    move(last);
  } else if (ImGui::IsKeyPressed(ImGuiKey_Backspace)) {
    pending_select_ = fs::path(folder_).filename().string();
    go_to(fs::path(folder_).parent_path().string());
  } else if (ImGui::IsKeyPressed(ImGuiKey_Enter, false) ||
             ImGui::IsKeyPressed(ImGuiKey_KeypadEnter, false)) {
    activate(selected_);
  }
  const double now = ImGui::GetTime();
  for (const ImWchar c : io.InputQueueCharacters) {
    if (now - typed_at_ > kTypingPause) {
      typed_.clear();
    }
    typed_at_ = now;
    utf8_append(typed_, static_cast<std::uint32_t>(c));
    if (const int found = find_typed(shown_, typed_); found >= 0) {
      move(found);
    }
  }
  ui.widgets.state("browser/typed", typed_);
}

int FileBrowser::on_path_key(ImGuiInputTextCallbackData* data) {
  const auto* self = static_cast<const FileBrowser*>(data->UserData);
  const std::string whole =
      self->complete_path(std::string(data->Buf, static_cast<std::size_t>(data->BufTextLen)));
  data->DeleteChars(0, data->BufTextLen);
  data->InsertChars(0, whole.c_str());
  return 0;
}

void FileBrowser::draw_path_row(Ui& ui) {
  if (button(ui, "browser/up", "Up", Look::kPlain, "To the folder above  ·  Backspace")) {
    pending_select_ = fs::path(folder_).filename().string();
    go_to(fs::path(folder_).parent_path().string());
  }
  ImGui::SameLine();
  const std::array<const char*, 4> filters{"Models (*.gguf, *.safetensors)",
                                           "Traces and dumps (safetensors, logs, npz …)", "Folders",
                                           "All files"};
  const float filter_width = px(ui, 230.0F);
  // Fields as high as the button beside them.
  const float padding = (button_size(ui, "Up").y - ImGui::GetFontSize()) / 2.0F;
  ImGui::PushStyleVar(ImGuiStyleVar_FramePadding, {px(ui, 8.0F), padding});
  ImGui::SetNextItemWidth(ImGui::GetContentRegionAvail().x - filter_width - px(ui, 8.0F));
  const bool entered = ImGui::InputTextWithHint(
      "##path", "A path; Tab completes it", &path_text_,
      ImGuiInputTextFlags_EnterReturnsTrue | ImGuiInputTextFlags_CallbackCompletion,
      &FileBrowser::on_path_key, this);
  path_active_ = ImGui::IsItemActive();
  ui.widgets.mark("browser/path");
  ui.widgets.state("browser/path", path_text_);
  if (entered) {
    open_path_field();
  }
  ImGui::SameLine();
  ImGui::SetNextItemWidth(filter_width);
  if (ImGui::Combo("##filter", &filter_, filters.data(), static_cast<int>(filters.size()))) {
    rearrange();
  }
  ui.widgets.mark("browser/filter");
  ImGui::PopStyleVar();
}

void FileBrowser::draw_places(Ui& ui) {
  section_title(ui, "Places");
  for (const auto& [name, place] : places_) {
    ImGui::PushID(place.c_str());
    if (ImGui::Selectable(name.c_str(), place == folder_)) {
      go_to(place);
    }
    ImGui::PopID();
    ui.widgets.mark("browser/place/" + name);
    tip(place);
    if (!visible_) {
      break;
    }
  }
}

std::optional<std::string> FileBrowser::draw(Ui& ui) {
  ui.widgets.state("browser/visible", visible_ ? "yes" : "no");
  if (!visible_) {
    return std::nullopt;
  }
  take_results();
  const char* title = purpose_ == BrowserPurpose::kReference ? kReferenceTitle : kTitle;
  if (opening_) {
    ImGui::OpenPopup(title);
    opening_ = false;
  }
  const ImVec2 screen = ImGui::GetMainViewport()->Size;
  const ImVec2 size(std::min(screen.x * 0.94F, px(ui, 1120.0F)),
                    std::min(screen.y * 0.92F, px(ui, 660.0F)));
  ImGui::SetNextWindowSize(size, ImGuiCond_Always);
  ImGui::SetNextWindowPos(ImGui::GetMainViewport()->GetCenter(), ImGuiCond_Always, {0.5F, 0.5F});
  bool stays_open = true;
  if (begin_dialog(title, &stays_open, px(ui, 1.0F), ImGuiWindowFlags_NoResize)) {
    draw_contents(ui);
    const bool escaped = !path_active_ && ImGui::IsKeyPressed(ImGuiKey_Escape, false) &&
                         ImGui::IsWindowFocused(ImGuiFocusedFlags_RootAndChildWindows);
    if (escaped || !chosen_.empty() || !visible_) {
      visible_ = false;
      ImGui::CloseCurrentPopup();
    }
    ImGui::EndPopup();
  } else {
    visible_ = false;
  }
  visible_ = visible_ && stays_open;
  if (chosen_.empty()) {
    return std::nullopt;
  }
  return std::exchange(chosen_, std::string());
}

}  // namespace layerscope::gui
