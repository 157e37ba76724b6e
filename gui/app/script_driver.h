// ScriptDriver: performs a script, a little before every frame. UI thread.
//
// Mouse and keyboard are injected as Dear ImGui events, one step per frame, so that hovering and
// focus behave as with a person at the desk; it is the same in a window and offscreen. Widgets are
// found by id in the registry that the last frame filled.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gui/app/script.h"
#include "gui/panels/ui.h"

namespace layerscope::gui {

/// What the driver needs of the program.
struct ScriptHost {
  Ui* ui = nullptr;
  std::function<bool()> idle;  ///< nothing is queued or computing, and the last frame shows it
  std::function<void(const std::string&)> open;
  std::function<void(const std::string&)> drop;
  std::function<Status(int, int)> resize;
  std::function<Status(const std::string&)> screenshot;
  std::function<void(double)> inputs;         ///< so many a second come from now on; 0: none
  std::function<void(bool all)> draw_frames;  ///< false: lay frames out, draw only what is saved
  /// Texts of the last frame that are cut off or overlap; null where nothing watches them.
  std::function<std::vector<std::string>()> text_problems;
  std::function<void(const std::string&)> measure;  ///< "start", or a name to print with the times
};

struct ScriptOptions {
  std::string name;           ///< for messages
  std::string output_folder;  ///< where relative screenshot names go
  double timeout = 20.0;      ///< seconds for every wait
  std::map<std::string, std::string, std::less<>> variables;
};

class ScriptDriver {
 public:
  ScriptDriver(std::vector<ScriptAction> actions, ScriptOptions options, ScriptHost host)
      : actions_(std::move(actions)), options_(std::move(options)), host_(std::move(host)) {}

  /// Call once before each frame; `now` in seconds. True when the script has ended. An error is a
  /// sentence with file, line, what was expected and what was found.
  Result<bool> advance(double now);
  [[nodiscard]] std::size_t performed() const { return next_; }
  /// Every action was begun: a script may end by quitting the program.
  [[nodiscard]] bool ended() const { return next_ + 1 >= actions_.size(); }

 private:
  enum class Step { kDone, kAgain };
  Result<Step> perform(const ScriptAction& action, const std::vector<std::string>& args);
  Result<Step> mouse(const ScriptAction& action, const std::vector<std::string>& args);
  Result<Step> type_text(const ScriptAction& action, const std::vector<std::string>& args);
  Result<Step> press_key(const std::string& chord);
  Result<Step> wait(const std::vector<std::string>& args);
  Result<Step> wait_value(const std::string& id, const std::string& value, bool part);
  Result<Step> check(const ScriptAction& action, const std::vector<std::string>& args);
  Result<Step> save(const std::string& file);
  [[nodiscard]] Status check_texts() const;
  Result<Step> finished_after(int frames);
  Error timeout_error(const std::string& what) const;
  Error unknown_id(const std::string& id, const char* kind) const;
  bool aim(const std::string& id);
  std::optional<std::string> variable(std::string_view name) const;

  std::vector<ScriptAction> actions_;
  ScriptOptions options_;
  ScriptHost host_;
  std::size_t next_ = 0;
  int phase_ = 0;  ///< step inside the present action
  int rest_ = 0;   ///< frames to let pass
  double now_ = 0.0;
  double started_ = -1.0;  ///< when the present action began
  ImVec2 target_{0.0F, 0.0F};
  std::string last_click_;
};

}  // namespace layerscope::gui
