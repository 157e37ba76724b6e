// A GLFW window. Its callbacks only note that something happened; Dear ImGui's backend reads input.
#include <GLFW/glfw3.h>
#include <imgui.h>
#include <imgui_impl_glfw.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "gui/app/keymap.h"
#include "gui/app/platform.h"

namespace layerscope::gui {
namespace {

constexpr int kMinWidth = 640;
constexpr int kMinHeight = 400;

class WindowPlatform final : public Platform {
 public:
  explicit WindowPlatform(const PlatformOptions& options)
      : scripted_(options.scripted), forced_scale_(options.scale) {}
  WindowPlatform(const WindowPlatform&) = delete;
  WindowPlatform& operator=(const WindowPlatform&) = delete;
  ~WindowPlatform() override {
    if (window_ != nullptr) {
      if (!scripted_) {
        ImGui_ImplGlfw_Shutdown();
      }
      glfwDestroyWindow(window_);
    }
    glfwTerminate();
  }

  Status start(const PlatformOptions& options);
  void wait(double seconds) override {
    if (seconds > 0.0) {
      glfwWaitEventsTimeout(seconds);
    } else {
      glfwPollEvents();
    }
  }
  void wake() override {
    woken_.store(true);
    glfwPostEmptyEvent();
  }
  Events take_events() override { return {std::exchange(events_, false), woken_.exchange(false)}; }
  void new_frame() override;
  [[nodiscard]] bool close_requested() const override {
    return glfwWindowShouldClose(window_) == GLFW_TRUE;
  }
  [[nodiscard]] float scale() const override;
  void resize(int width, int height) override { glfwSetWindowSize(window_, width, height); }
  void set_title(const std::string& title) override { glfwSetWindowTitle(window_, title.c_str()); }
  std::vector<std::string> take_drops() override { return std::exchange(drops_, {}); }
  std::vector<int> take_chords() override { return std::exchange(chords_, {}); }
  [[nodiscard]] bool has_chords() const override { return !scripted_; }
  [[nodiscard]] int width() const override { return size().first; }
  [[nodiscard]] int height() const override { return size().second; }
  [[nodiscard]] GLFWwindow* window() const override { return window_; }

 private:
  static WindowPlatform& of(GLFWwindow* window) {
    return *static_cast<WindowPlatform*>(glfwGetWindowUserPointer(window));
  }
  [[nodiscard]] std::pair<int, int> size() const {
    int width = 0;
    int height = 0;
    glfwGetWindowSize(window_, &width, &height);
    return {width, height};
  }
  void install_callbacks();
  /// Hands a key's modifiers to Dear ImGui as the display server stated them with that key. Its
  /// backend only knows the modifier keys whose own press it saw: where the focus has just come,
  /// Ctrl+A in a text field would arrive as A. Called after the backend's callback, in the same
  /// frame.
  static void note_modifiers(int key, int action, int mods);
  void note_chord(int key, int scancode, int action, int mods);

  GLFWwindow* window_ = nullptr;
  bool scripted_;
  float forced_scale_;
  bool events_ = true;
  std::atomic<bool> woken_{false};
  std::vector<std::string> drops_;
  std::vector<int> chords_;
};

Status WindowPlatform::start(const PlatformOptions& options) {
  glfwSetErrorCallback(
      [](int code, const char* text) { spdlog::debug("GLFW error {:#x}: {}", code, text); });
  if (glfwInit() == GLFW_FALSE) {
    return device_error(
        "no display was found to open a window on; use --offscreen WxH to render into an image");
  }
  glfwWindowHint(GLFW_CLIENT_API, GLFW_NO_API);
  glfwWindowHint(GLFW_SCALE_TO_MONITOR, GLFW_TRUE);
  window_ = glfwCreateWindow(options.width, options.height, "Layerscope", nullptr, nullptr);
  if (window_ == nullptr) {
    return device_error("no window could be opened; use --offscreen WxH to render into an image");
  }
  if (options.scripted) {
    glfwSetWindowSize(window_, options.width, options.height);
  }
  glfwSetWindowSizeLimits(window_, kMinWidth, kMinHeight, GLFW_DONT_CARE, GLFW_DONT_CARE);
  glfwSetWindowUserPointer(window_, this);
  install_callbacks();
  if (!scripted_ && !ImGui_ImplGlfw_InitForVulkan(window_, /*install_callbacks=*/true)) {
    return device_error("Dear ImGui's GLFW backend did not start");
  }
  if (!scripted_) {
    glfwSetKeyCallback(window_, [](GLFWwindow* w, int key, int scancode, int action, int mods) {
      ImGui_ImplGlfw_KeyCallback(w, key, scancode, action, mods);
      note_modifiers(key, action, mods);
      of(w).note_chord(key, scancode, action, mods);
    });
  }
  return {};
}

void WindowPlatform::install_callbacks() {
  // Installed before Dear ImGui's, which call them in turn.
  glfwSetKeyCallback(window_, [](GLFWwindow* w, int, int, int, int) { of(w).events_ = true; });
  glfwSetCharCallback(window_, [](GLFWwindow* w, unsigned) { of(w).events_ = true; });
  glfwSetCursorPosCallback(window_, [](GLFWwindow* w, double, double) { of(w).events_ = true; });
  glfwSetCursorEnterCallback(window_, [](GLFWwindow* w, int) { of(w).events_ = true; });
  glfwSetMouseButtonCallback(window_, [](GLFWwindow* w, int, int, int) { of(w).events_ = true; });
  glfwSetScrollCallback(window_, [](GLFWwindow* w, double, double) { of(w).events_ = true; });
  glfwSetWindowFocusCallback(window_, [](GLFWwindow* w, int) { of(w).events_ = true; });
  glfwSetWindowRefreshCallback(window_, [](GLFWwindow* w) { of(w).events_ = true; });
  glfwSetFramebufferSizeCallback(window_, [](GLFWwindow* w, int, int) { of(w).events_ = true; });
  glfwSetWindowCloseCallback(window_, [](GLFWwindow* w) { of(w).events_ = true; });
  glfwSetWindowContentScaleCallback(window_,
                                    [](GLFWwindow* w, float, float) { of(w).events_ = true; });
  glfwSetDropCallback(window_, [](GLFWwindow* w, int count, const char** paths) {
    WindowPlatform& self = of(w);
    self.drops_.insert(self.drops_.end(), paths, paths + count);
    self.events_ = true;
  });
}

void WindowPlatform::note_modifiers(int key, int action, int mods) {
  const bool modifier = key >= GLFW_KEY_LEFT_SHIFT && key <= GLFW_KEY_RIGHT_SUPER;
  if (action == GLFW_RELEASE || modifier) {
    return;
  }
  ImGuiIO& io = ImGui::GetIO();
  io.AddKeyEvent(ImGuiMod_Ctrl, (mods & GLFW_MOD_CONTROL) != 0);
  io.AddKeyEvent(ImGuiMod_Shift, (mods & GLFW_MOD_SHIFT) != 0);
  io.AddKeyEvent(ImGuiMod_Alt, (mods & GLFW_MOD_ALT) != 0);
  io.AddKeyEvent(ImGuiMod_Super, (mods & GLFW_MOD_SUPER) != 0);
}

/// The key as the layout prints it: Ctrl+Q is where Q is written.
ImGuiKey key_of(int key, int scancode) {
  if (key >= GLFW_KEY_F1 && key <= GLFW_KEY_F24) {
    return static_cast<ImGuiKey>(ImGuiKey_F1 + key - GLFW_KEY_F1);
  }
  if (key == GLFW_KEY_KP_ADD || key == GLFW_KEY_KP_SUBTRACT) {
    return key == GLFW_KEY_KP_ADD ? ImGuiKey_KeypadAdd : ImGuiKey_KeypadSubtract;
  }
  const char* name = glfwGetKeyName(key, scancode);
  const char c = name != nullptr && name[1] == '\0' ? name[0] : '\0';
  if (c >= 'a' && c <= 'z') {
    return static_cast<ImGuiKey>(ImGuiKey_A + c - 'a');
  }
  if (c >= '0' && c <= '9') {
    return static_cast<ImGuiKey>(ImGuiKey_0 + c - '0');
  }
  // '+' has a key of its own on some layouts and is over '=' on others.
  return c == '=' || c == '+' ? ImGuiKey_Equal : c == '-' ? ImGuiKey_Minus : ImGuiKey_None;
}

void WindowPlatform::note_chord(int key, int scancode, int action, int mods) {
  if (action != GLFW_PRESS) {
    return;
  }
  const ImGuiKeyChord chord = key_of(key, scancode) |
                              ((mods & GLFW_MOD_CONTROL) != 0 ? ImGuiMod_Ctrl : 0) |
                              ((mods & GLFW_MOD_SHIFT) != 0 ? ImGuiMod_Shift : 0) |
                              ((mods & GLFW_MOD_ALT) != 0 ? ImGuiMod_Alt : 0);
  if (is_command_chord(chord)) {
    chords_.push_back(chord);
  }
}

void WindowPlatform::new_frame() {
  if (!scripted_) {
    ImGui_ImplGlfw_NewFrame();
    return;
  }
  int pixels_x = 0;
  int pixels_y = 0;
  glfwGetFramebufferSize(window_, &pixels_x, &pixels_y);
  ImGuiIO& io = ImGui::GetIO();
  io.DisplaySize = ImVec2(static_cast<float>(pixels_x), static_cast<float>(pixels_y));
  io.DeltaTime = 1.0F / 60.0F;
}

float WindowPlatform::scale() const {
  if (forced_scale_ > 0.0F) {
    return forced_scale_;
  }
  if (scripted_) {
    return 1.0F;
  }
  float x = 1.0F;
  float y = 1.0F;
  glfwGetWindowContentScale(window_, &x, &y);
  // Where window coordinates are scaled already (Wayland), only the rest is ours.
  int pixels = 0;
  int pixels_y = 0;
  glfwGetFramebufferSize(window_, &pixels, &pixels_y);
  const int points = width();
  const float built_in =
      points > 0 && pixels > 0 ? static_cast<float>(pixels) / static_cast<float>(points) : 1.0F;
  return std::clamp(std::max(x, y) / built_in, 0.5F, 4.0F);
}

}  // namespace

Result<std::unique_ptr<Platform>> make_window_platform(const PlatformOptions& options) {
  auto platform = std::make_unique<WindowPlatform>(options);
  LS_CHECK(platform->start(options));
  return std::unique_ptr<Platform>(std::move(platform));
}

}  // namespace layerscope::gui
