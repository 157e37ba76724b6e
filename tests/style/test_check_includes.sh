#!/bin/bash
# Proves that check_includes.sh accepts a good tree and rejects each kind of bad one.
set -euo pipefail
check=$(cd "$(dirname "$0")/../tools" && pwd)/check_includes.sh
failures=0
rejected=0
tree=""
trap '[ -z "$tree" ] || rm -rf "$tree"' EXIT

# new_tree: a small tree that keeps every rule.
new_tree() {
  [ -z "$tree" ] || rm -rf "$tree"
  tree=$(mktemp -d)
  mkdir -p "$tree"/{engine/{base,format,arch,model,backend,capture,session},kernels/{cpu,cuda},gui/{app,view,panels,vulkan}}
  echo '#include <string>' >"$tree/engine/base/result.h"
  echo '#include "engine/base/result.h"' >"$tree/kernels/ops.h"
  printf '#include "kernels/ops.h"\n#include <cuda_runtime.h>\n' >"$tree/kernels/cuda/rope.cu"
  echo '#include "kernels/ops.h"' >"$tree/engine/format/gguf.h"
  echo '#include "engine/format/gguf.h"' >"$tree/engine/model/spec.h"
  printf '#include "engine/model/spec.h"\n#include <cublas_v2.h>\n' >"$tree/engine/backend/cuda_backend.cpp"
  echo '#include "engine/format/gguf.h"' >"$tree/engine/capture/sink.h"
  echo '#include "engine/model/decoder_spec.h"' >"$tree/engine/arch/x.h"
  echo '#include "engine/arch/x.h"' >"$tree/engine/model/model.cpp"
  echo '#include "engine/capture/sink.h"' >"$tree/engine/session/snapshot.h"
  echo '#include "engine/session/snapshot.h"' >"$tree/gui/view/norms.h"
  printf '#include <imgui.h>\n#include "gui/view/norms.h"\n' >"$tree/gui/panels/norms.cpp"
  echo '#include <vulkan/vulkan.h>' >"$tree/gui/vulkan/device.h"
  printf '#include "gui/vulkan/device.h"\n#include <GLFW/glfw3.h>\n' >"$tree/gui/app/app.cpp"
}

# reject <what is wrong> <file> <text of the file>: the checker must fail and name the file.
reject() {
  local output
  rejected=$((rejected + 1))
  new_tree
  echo "$3" >"$tree/$2"
  if output=$("$check" "$tree" 2>&1); then
    echo "accepted: $1"
    failures=$((failures + 1))
  elif [[ $output != *"$2"* ]]; then
    echo "rejected without naming $2: $1: $output"
    failures=$((failures + 1))
  fi
}

new_tree
if ! output=$("$check" "$tree" 2>&1); then
  echo "the good tree was rejected: $output"
  failures=$((failures + 1))
fi
reject "base includes a higher level" engine/base/log.h '#include "kernels/ops.h"'
reject "kernels include the model" kernels/cpu/rope.cpp '#include "engine/model/spec.h"'
reject "format includes the session" engine/format/a.cpp '#  include "engine/session/snapshot.h"'
reject "the engine includes the window" engine/session/a.cpp '#include "gui/view/norms.h"'
reject "a view includes ImGui" gui/view/a.h '#include <imgui.h>'
reject "a view includes Vulkan" gui/view/a.cpp '#include "gui/vulkan/device.h"'
reject "a panel includes a backend" gui/panels/a.cpp '#include "engine/backend/backend.h"'
reject "a panel includes vulkan.h" gui/panels/a.cpp '#include <vulkan/vulkan.h>'
reject "the engine includes imgui.h" engine/session/a.h '#include "imgui.h"'
reject "CUDA outside its folders" kernels/cpu/a.cpp '#include <cuda_runtime.h>'
reject "CUDA in the CPU backend" engine/backend/cpu_backend.cpp '#include <cuda_runtime.h>'
reject "capture includes the model" engine/capture/a.h '#include "engine/model/spec.h"'
reject "arch includes more of the model than its spec" engine/arch/a.h '#include "engine/model/model.h"'
reject "an include relative to the file" engine/base/a.cpp '#include "result.h"'
reject "an include with .." engine/format/a.cpp '#include "../base/result.h"'
reject "source includes tests" engine/base/a.cpp '#include "tests/tools/x.h"'
reject "vulkan.h in the application" gui/app/a.cpp '#include <vulkan/vulkan.h>'

# A cycle that the rules would let pass, folder by folder.
new_tree
printf '%s : %s\n' engine/base kernels kernels engine/base >"$tree/rules.txt"
rm -r "$tree"/engine/* "$tree"/gui/* "$tree/kernels/cuda"
mkdir "$tree/engine/base"
echo '#include "kernels/ops.h"' >"$tree/engine/base/log.h"
rejected=$((rejected + 1))
if output=$("$check" "$tree" "$tree/rules.txt" 2>&1) || [[ $output != *"include each other"* ]]; then
  echo "accepted: a cycle of folders: $output"
  failures=$((failures + 1))
fi

if [ "$failures" -ne 0 ]; then
  echo "$failures failure(s)"
  exit 1
fi
echo "1 good tree accepted, $rejected bad ones rejected"
