// Prompt section of the left panel: editor, chat or raw, what is really fed, sampling. UI thread.
#pragma once

#include "engine/session/sampler.h"
#include "gui/panels/ui.h"

namespace layerscope::gui {

class PromptSection {
 public:
  void draw(Ui& ui);

 private:
  /// True when Ctrl+Enter was pressed in it.
  bool editor(Ui& ui);
  void sampling_popup(Ui& ui);
  static void fed_popup(Ui& ui);

  bool editing_ = false;
  session::SamplerSettings draft_;  ///< what the sliders show while they are dragged
};

}  // namespace layerscope::gui
