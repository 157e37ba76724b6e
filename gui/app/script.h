// Script: a plain-text list of user actions, parsed. Pure; script_driver.h performs it.
//
// One action per line, `#` starts a comment. Words are separated by blanks; "quoted words" know the
// escapes \n \t \" \\ \$ and \xNN. ${NAME} is replaced by a variable everywhere.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/base/result.h"

namespace layerscope::gui {

enum class Verb {
  kOpen,            ///< open PATH: load without clicking
  kClick,           ///< click ID
  kDoubleClick,     ///< double-click ID
  kRightClick,      ///< right-click ID
  kHover,           ///< hover ID
  kType,            ///< type ID TEXT: click, select all, type
  kKey,             ///< key CHORD
  kDrop,            ///< drop PATH: as if a file were dropped on the window
  kScroll,          ///< scroll ID NOTCHES (positive: up)
  kDrag,            ///< drag ID DX DY
  kResize,          ///< resize WxH
  kWait,            ///< wait steps N | idle | loaded | frames N | widget ID | state ID VALUE
  kWaitUntil,       ///< wait-until ID VALUE
  kWaitContains,    ///< wait-contains ID TEXT
  kAssert,          ///< assert ID VALUE
  kAssertContains,  ///< assert-contains ID TEXT
  kAssertNot,       ///< assert-not ID VALUE
  kAssertWidget,    ///< assert-widget ID
  kAssertNoWidget,  ///< assert-no-widget ID
  kAssertTexts,     ///< assert-texts-fit: nothing is cut off or overlaps (tests/gui/texts)
  kDraw,            ///< draw all | pictures: whether frames that are not saved are drawn, too
  kScreenshot,      ///< screenshot FILE.png
  kSet,             ///< set NAME VALUE: a variable
  kPrint,           ///< print ID: a state's value to standard output
  kMeasure,         ///< measure start | measure NAME: frame times since then, to standard output
  kInputs,          ///< inputs PER_SECOND: movements of the mouse whose answers are timed; 0: none
  kTimeout,         ///< timeout SECONDS: for the waits that follow
};

struct ScriptAction {
  Verb verb = Verb::kWait;
  std::vector<std::string> args;  ///< variables not yet replaced
  int line = 0;                   ///< 1-based
  std::string text;               ///< the line as written, for messages
};

/// Parses a whole script. Error (kUsage): `name:line: what is wrong`.
Result<std::vector<ScriptAction>> parse_script(std::string_view name, std::string_view text);

/// A variable's value, nothing when unknown.
using Lookup = std::function<std::optional<std::string>(std::string_view)>;

/// Replaces ${NAME}. Error (kUsage): unknown variable or a missing brace.
Result<std::string> expand_variables(std::string_view text, const Lookup& lookup);

/// Up to `limit` of `ids`, those most like `wanted` first (for "unknown id" messages).
std::vector<std::string> near_ids(std::string_view wanted, const std::vector<std::string>& ids,
                                  std::size_t limit);

/// A number that fills the whole word. Error (kUsage) names the word.
Result<double> parse_number(const std::string& word);
/// "1600x1000". Error (kUsage): not that.
Result<std::pair<int, int>> parse_size(const std::string& word);

}  // namespace layerscope::gui
