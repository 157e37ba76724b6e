#include "engine/cli/commands.h"

int main(int argc, char** argv) { return layerscope::cli::run(argc, argv); }
