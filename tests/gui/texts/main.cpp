// layerscope_texts: the window program, watching whether its texts fit. Every picture that a script
// takes, and every `assert-texts-fit`, fails where a text is cut off or two stand on top of each
// other. Takes the options of layerscope.
#include <cstdio>
#include <cstdlib>

#include "engine/base/log.h"
#include "gui/app/application.h"
#include "tests/gui/texts/text_probe.h"

int main(int argc, char** argv) {
  using namespace layerscope;
  const auto fail = [](const Error& error) {
    std::fprintf(stderr, "layerscope_texts: %s\n", error.message.c_str());
    return exit_code(error.code);
  };
  const auto options = gui::parse_options(argc, argv);
  if (!options.ok() || !options.value()) {
    return options.ok() ? 0 : fail(options.error());
  }
  if (const auto status = log::init(options.value()->log_level); !status.ok()) {
    return fail(status.error());
  }
  gui::FrameProbe probe;
  probe.before = [] { gui::text_probe().clear(); };
  probe.text_problems = [] { return gui::text_probe().problems(); };
  // Pictures cost more than everything else; without this, only those of what is wrong are kept.
  probe.pictures = std::getenv("LS_TEXTS_PICTURES") != nullptr;
  const auto status = gui::run_application(*options.value(), std::move(probe));
  return status.ok() ? 0 : fail(status.error());
}
