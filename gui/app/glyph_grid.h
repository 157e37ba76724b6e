// Text on the pixel grid: the same pixels wherever a glyph lies in the font atlas. UI thread.
//
// Dear ImGui packs glyphs in the order in which they are first drawn, which follows timing. A glyph
// at a fractional position is filtered between texels, and its coordinates round differently at
// another place of the atlas. So every glyph is moved by at most half a texel, until each pixel's
// centre meets the centre of one texel: then no filtering happens at all.
#pragma once

#include <imgui.h>

namespace layerscope::gui {

/// Moves the glyphs of a finished frame (after ImGui::Render) onto the grid: at most 0.25 pixels
/// where glyphs have two texels a pixel, 0.5 where they have one, in text that is upright or
/// turned by a quarter. Enlarged and reduced text, lines and images stay as they are.
void align_glyphs(ImDrawData& data);

}  // namespace layerscope::gui
