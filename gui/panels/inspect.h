// Inspect: one token evaluated again in full, asked for by whichever panel shows it. UI thread.
#pragma once

#include <memory>

#include "gui/panels/ui.h"

namespace layerscope::gui {

/// Tokens per layer that the logit lens lists.
inline constexpr int kLensTop = 5;

struct WantedDetail {
  std::shared_ptr<const session::TokenDetail> detail;  ///< null: nothing has arrived yet
  bool fresh = false;                                  ///< it is of the shown token as it is now
};

/// The latest detail; asks for the shown token's where that is missing (with `lens`: also where its
/// lens is). While tokens are generated it asks a few times a second only.
WantedDetail want_detail(Ui& ui, bool lens);

}  // namespace layerscope::gui
