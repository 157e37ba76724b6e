#include "gui/app/script_driver.h"

#include <fmt/format.h>

#include <cstdlib>

#include "engine/base/utf8.h"
#include "gui/app/keymap.h"

namespace layerscope::gui {
namespace {

constexpr int kSettleFrames = 2;      ///< after every input, so that its effect is drawn
constexpr int kScreenshotFrames = 3;  ///< before a picture, so that delayed content is there
constexpr int kSameSpotFrames = 20;   ///< between clicks on one widget: never a double click
constexpr int kDragFrames = 5;
constexpr int kCharactersPerFrame = 16;

std::string state_text(const std::string* value) {
  return value == nullptr ? "nothing" : fmt::format("\"{}\"", utf8_escape(*value));
}

}  // namespace

std::optional<std::string> ScriptDriver::variable(std::string_view name) const {
  if (const auto found = options_.variables.find(name); found != options_.variables.end()) {
    return found->second;
  }
  const char* value = std::getenv(std::string(name).c_str());
  return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
}

Result<bool> ScriptDriver::advance(double now) {
  now_ = now;
  if (rest_ > 0) {
    --rest_;
    return false;
  }
  while (next_ < actions_.size()) {
    const ScriptAction& action = actions_[next_];
    if (started_ < 0.0) {
      started_ = now;
    }
    std::vector<std::string> args;
    Status expanded;
    for (const std::string& word : action.args) {
      auto arg = expand_variables(word, [this](std::string_view name) { return variable(name); });
      if (!arg.ok()) {
        expanded = arg.error();
        break;
      }
      args.push_back(std::move(arg).value());
    }
    auto step = expanded.ok() ? perform(action, args) : Result<Step>(expanded.error());
    if (!step.ok()) {
      return Error{step.error().code, fmt::format("{}:{}: {}: {}", options_.name, action.line,
                                                  action.text, step.error().message)};
    }
    if (step.value() == Step::kAgain) {
      return false;
    }
    ++next_;
    phase_ = 0;
    started_ = -1.0;
    if (rest_ > 0) {
      return false;
    }
  }
  return true;
}

Result<ScriptDriver::Step> ScriptDriver::finished_after(int frames) {
  rest_ = frames;
  return Step::kDone;
}

Error ScriptDriver::timeout_error(const std::string& what) const {
  const std::string* error = host_.ui->widgets.find_state("app/error");
  const std::string note =
      error != nullptr && !error->empty() ? fmt::format("; the window says: {}", *error) : "";
  return internal_error(fmt::format("{} after {:g} s{}", what, options_.timeout, note));
}

Error ScriptDriver::unknown_id(const std::string& id, const char* kind) const {
  const auto near = near_ids(id, host_.ui->widgets.ids(), 6);
  return internal_error(
      fmt::format("there is no {} '{}'; near ids: {}", kind, id, fmt::join(near, ", ")));
}

bool ScriptDriver::aim(const std::string& id) {
  const WidgetRegistry::Widget* widget = host_.ui->widgets.find(id);
  if (widget == nullptr || !widget->visible) {
    return false;
  }
  target_ = ImVec2((widget->min.x + widget->max.x) * 0.5F, (widget->min.y + widget->max.y) * 0.5F);
  return true;
}

Result<ScriptDriver::Step> ScriptDriver::perform(const ScriptAction& action,
                                                 const std::vector<std::string>& args) {
  switch (action.verb) {
    case Verb::kOpen:
      host_.open(args[0]);
      return finished_after(kSettleFrames);
    case Verb::kDrop:
      host_.drop(args[0]);
      return finished_after(kSettleFrames);
    case Verb::kClick:
    case Verb::kDoubleClick:
    case Verb::kRightClick:
    case Verb::kHover:
    case Verb::kScroll:
    case Verb::kDrag:
      return mouse(action, args);
    case Verb::kType:
      return type_text(action, args);
    case Verb::kKey:
      return press_key(args[0]);
    case Verb::kResize: {
      LS_TRY(const auto size, parse_size(args[0]));
      LS_CHECK(host_.resize(size.first, size.second));
      return finished_after(kSettleFrames + 4);
    }
    case Verb::kWait:
      return wait(args);
    case Verb::kWaitUntil:
      return wait_value(args[0], args[1], false);
    case Verb::kWaitContains:
      return wait_value(args[0], args[1], true);
    case Verb::kAssert:
    case Verb::kAssertContains:
    case Verb::kAssertNot:
    case Verb::kAssertWidget:
    case Verb::kAssertNoWidget:
      return check(action, args);
    case Verb::kAssertTexts:
      if (host_.text_problems == nullptr) {
        return usage_error("this program does not watch texts; run it with layerscope_texts");
      }
      if (phase_++ == 0) {
        rest_ = kScreenshotFrames;
        return Step::kAgain;
      }
      LS_CHECK(check_texts());
      return Step::kDone;
    case Verb::kDraw:
      if (args[0] != "all" && args[0] != "pictures") {
        return usage_error(fmt::format("expected: draw all | pictures, not '{}'", args[0]));
      }
      host_.draw_frames(args[0] == "all");
      return Step::kDone;
    case Verb::kScreenshot:
      return save(args[0]);
    case Verb::kSet:
      options_.variables[args[0]] = args[1];
      return Step::kDone;
    case Verb::kPrint: {
      const std::string* value = host_.ui->widgets.find_state(args[0]);
      if (value == nullptr) {
        return unknown_id(args[0], "state");
      }
      fmt::print("{}: {}\n", args[0], *value);
      return Step::kDone;
    }
    case Verb::kMeasure:
      host_.measure(args[0]);
      return Step::kDone;
    case Verb::kInputs: {
      LS_TRY(const double per_second, parse_number(args[0]));
      if (per_second < 0.0 || per_second > 1000.0) {
        return usage_error("inputs takes 0 to 1,000 a second");
      }
      host_.inputs(per_second);
      return Step::kDone;
    }
    case Verb::kTimeout: {
      LS_TRY(options_.timeout, parse_number(args[0]));
      return Step::kDone;
    }
  }
  return internal_error("unknown action");
}

Result<ScriptDriver::Step> ScriptDriver::mouse(const ScriptAction& action,
                                               const std::vector<std::string>& args) {
  ImGuiIO& io = ImGui::GetIO();
  const std::string& id = args[0];
  const bool right = action.verb == Verb::kRightClick;
  const int button = right ? ImGuiMouseButton_Right : ImGuiMouseButton_Left;
  if (phase_ == 0) {
    if (!aim(id)) {
      if (now_ - started_ < options_.timeout) {
        return Step::kAgain;
      }
      const bool there = host_.ui->widgets.find(id) != nullptr;
      return there ? internal_error(fmt::format("'{}' is there, but scrolled out of sight", id))
                   : unknown_id(id, "widget");
    }
    io.AddMousePosEvent(target_.x, target_.y);
    if (action.verb == Verb::kClick && id == last_click_) {
      rest_ = kSameSpotFrames;
    }
    last_click_ = action.verb == Verb::kClick ? id : "";
    ++phase_;
    return Step::kAgain;
  }
  if (phase_ == 1 && !aim(id)) {
    phase_ = 0;  // it moved out of reach meanwhile: try again
    return Step::kAgain;
  }
  if (phase_ == 1) {
    io.AddMousePosEvent(target_.x, target_.y);
    ++phase_;
    return Step::kAgain;
  }
  const int step = phase_++ - 2;
  switch (action.verb) {
    case Verb::kHover:
      return finished_after(30);  // as long as tooltips take to appear
    case Verb::kScroll: {
      LS_TRY(const double notches, parse_number(args[1]));
      io.AddMouseWheelEvent(0.0F, static_cast<float>(notches));
      return finished_after(kSettleFrames + 2);
    }
    case Verb::kDrag: {
      LS_TRY(const double dx, parse_number(args[1]));
      LS_TRY(const double dy, parse_number(args[2]));
      if (step == 0) {
        io.AddMouseButtonEvent(button, true);
      } else if (step <= kDragFrames) {
        const float part = static_cast<float>(step) / static_cast<float>(kDragFrames);
        io.AddMousePosEvent(target_.x + part * static_cast<float>(dx),
                            target_.y + part * static_cast<float>(dy));
      } else {
        io.AddMouseButtonEvent(button, false);
        return finished_after(kSettleFrames);
      }
      return Step::kAgain;
    }
    default: {
      io.AddMouseButtonEvent(button, step % 2 == 0);
      const int last = action.verb == Verb::kDoubleClick ? 3 : 1;
      if (step < last) {
        return Step::kAgain;
      }
      return finished_after(kSettleFrames);
    }
  }
}

Result<ScriptDriver::Step> ScriptDriver::type_text(const ScriptAction& action,
                                                   const std::vector<std::string>& args) {
  // Phases 0–3 click, 4–5 select all, then the characters follow.
  ImGuiIO& io = ImGui::GetIO();
  if (phase_ < 4) {
    ScriptAction click = action;
    click.verb = Verb::kClick;
    LS_TRY(const Step done, mouse(click, args));
    if (done == Step::kDone) {
      phase_ = 4;
    }
    return Step::kAgain;
  }
  if (phase_ == 4 || phase_ == 5) {
    io.AddKeyEvent(ImGuiMod_Ctrl, phase_ == 4);
    io.AddKeyEvent(ImGuiKey_A, phase_ == 4);
    ++phase_;
    rest_ = 1;
    return Step::kAgain;
  }
  if (!io.WantTextInput) {
    return internal_error(fmt::format("'{}' takes no text", args[0]));
  }
  std::size_t position = 0;
  const int sent = (phase_ - 6) * kCharactersPerFrame;
  int index = 0;
  while (position < args[1].size() && index < sent + kCharactersPerFrame) {
    const std::uint32_t character = utf8_next(args[1], position);
    if (index++ >= sent) {
      io.AddInputCharacter(character);
    }
  }
  if (args[1].empty()) {
    io.AddKeyEvent(ImGuiKey_Delete, true);
    io.AddKeyEvent(ImGuiKey_Delete, false);
  }
  ++phase_;
  if (position < args[1].size()) {
    return Step::kAgain;
  }
  return finished_after(kSettleFrames + 1);
}

Result<ScriptDriver::Step> ScriptDriver::press_key(const std::string& chord) {
  LS_TRY(const ImGuiKeyChord keys, parse_chord(chord));
  ImGuiIO& io = ImGui::GetIO();
  const bool down = phase_ == 0;
  for (const ImGuiKey mod : {ImGuiMod_Ctrl, ImGuiMod_Shift, ImGuiMod_Alt}) {
    if ((keys & mod) != 0) {
      io.AddKeyEvent(mod, down);
    }
  }
  io.AddKeyEvent(static_cast<ImGuiKey>(keys & ~ImGuiMod_Mask_), down);
  if (down) {
    ++phase_;
    rest_ = 1;
    return Step::kAgain;
  }
  return finished_after(kSettleFrames);
}

Result<ScriptDriver::Step> ScriptDriver::wait_value(const std::string& id, const std::string& value,
                                                    bool part) {
  const std::string* found = host_.ui->widgets.find_state(id);
  if (found != nullptr && (part ? found->find(value) != std::string::npos : *found == value)) {
    return Step::kDone;
  }
  if (now_ - started_ < options_.timeout) {
    return Step::kAgain;
  }
  if (found == nullptr) {
    return unknown_id(id, "state");
  }
  return timeout_error(fmt::format("expected {}\"{}\", found {}", part ? "something with " : "",
                                   utf8_escape(value), state_text(found)));
}

Result<ScriptDriver::Step> ScriptDriver::wait(const std::vector<std::string>& args) {
  const WidgetRegistry& widgets = host_.ui->widgets;
  const session::Snapshot& snapshot = *host_.ui->snapshot;
  const std::string& kind = args[0];
  if (kind == "state") {
    return wait_value(args[1], args[2], false);
  }
  if (kind == "frames") {
    LS_TRY(const double frames, parse_number(args[1]));
    return finished_after(static_cast<int>(frames));
  }
  bool reached = false;
  std::string found;
  if (kind == "steps") {
    LS_TRY(const double steps, parse_number(args[1]));
    reached = snapshot.n_generated >= static_cast<int>(steps);
    found = fmt::format("only {} of {} tokens were generated", snapshot.n_generated, args[1]);
  } else if (kind == "idle") {
    // Twice in a row: a click's command may still be on its way in the first frame.
    phase_ = host_.idle() ? phase_ + 1 : 0;
    reached = phase_ > 2;
    found = "the session is still busy";
  } else if (kind == "loaded") {
    reached = snapshot.model != nullptr && snapshot.state != session::State::kLoading;
    found = "no model was loaded";
  } else {
    const WidgetRegistry::Widget* widget = widgets.find(args[1]);
    reached = widget != nullptr && widget->visible;
    found = fmt::format("the widget '{}' did not appear", args[1]);
  }
  if (reached) {
    return Step::kDone;
  }
  if (now_ - started_ < options_.timeout) {
    return Step::kAgain;
  }
  return timeout_error(found);
}

Result<ScriptDriver::Step> ScriptDriver::check(const ScriptAction& action,
                                               const std::vector<std::string>& args) {
  const WidgetRegistry& widgets = host_.ui->widgets;
  if (action.verb == Verb::kAssertWidget) {
    return widgets.find(args[0]) != nullptr ? Result<Step>(Step::kDone)
                                            : Result<Step>(unknown_id(args[0], "widget"));
  }
  if (action.verb == Verb::kAssertNoWidget) {
    return widgets.find(args[0]) == nullptr
               ? Result<Step>(Step::kDone)
               : Result<Step>(internal_error(fmt::format("the widget '{}' is there", args[0])));
  }
  const std::string* found = widgets.find_state(args[0]);
  if (found == nullptr) {
    return unknown_id(args[0], "state");
  }
  switch (action.verb) {
    case Verb::kAssert:
      if (*found == args[1]) {
        return Step::kDone;
      }
      return internal_error(
          fmt::format("expected \"{}\", found {}", utf8_escape(args[1]), state_text(found)));
    case Verb::kAssertContains:
      if (found->find(args[1]) != std::string::npos) {
        return Step::kDone;
      }
      return internal_error(fmt::format("expected something with \"{}\", found {}",
                                        utf8_escape(args[1]), state_text(found)));
    default:
      if (*found != args[1]) {
        return Step::kDone;
      }
      return internal_error(fmt::format("expected anything but {}", state_text(found)));
  }
}

Result<ScriptDriver::Step> ScriptDriver::save(const std::string& file) {
  if (phase_++ == 0) {
    rest_ = kScreenshotFrames;
    return Step::kAgain;
  }
  const bool absolute = file.starts_with('/');
  const std::string path = absolute ? file : options_.output_folder + "/" + file;
  LS_CHECK(host_.screenshot(path));
  LS_CHECK(check_texts());  // the picture of what is wrong is there by then
  return Step::kDone;
}

Status ScriptDriver::check_texts() const {
  if (host_.text_problems == nullptr) {
    return {};
  }
  const std::vector<std::string> problems = host_.text_problems();
  if (problems.empty()) {
    return {};
  }
  return internal_error(
      fmt::format("{} text(s) do not fit:\n  {}", problems.size(), fmt::join(problems, "\n  ")));
}

}  // namespace layerscope::gui
