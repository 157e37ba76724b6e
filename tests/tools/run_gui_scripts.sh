#!/bin/bash
# Runs scripts of user actions in the window program, offscreen or in a real window under Xvfb.
#
#   run_gui_scripts.sh BUILD_DIR offscreen|window [SCRIPT...]
#
# Without scripts, all of tests/gui/*.script. A line "# options: …" in one is given to the program. Vulkan's validation layer is on where it is installed:
# what it reports fails a script. Screenshots land in BUILD_DIR/screenshots/<mode>. Exit 0 when all
# passed, 77 when the mode cannot run here (the last line says why), 1 otherwise.
set -uo pipefail

if [ $# -lt 2 ]; then
  sed -n '2,8s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
root=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
mode=$2
shift 2
if [ $# -eq 0 ]; then set -- "$root"/tests/gui/*.script; fi

shopt -s nullglob
models=("$root"/assets/demo/*.gguf "$root"/tests/golden/models/qwen2/model.gguf)
if [ ${#models[@]} -eq 0 ]; then
  echo "no model to open: neither assets/demo/*.gguf nor the golden qwen2 is here"
  exit 77
fi
launch=()
arguments=()
case $mode in
  offscreen) arguments=(--offscreen 1600x1000) ;;
  window)
    if ! command -v xvfb-run >/dev/null; then
      echo "xvfb-run is not installed"
      exit 77
    fi
    # -noreset: the server would otherwise end between two clients of one script.
    launch=(xvfb-run -a -s "-screen 0 1920x1200x24 -noreset")
    ;;
  *)
    echo "unknown mode '$mode': offscreen or window" >&2
    exit 2
    ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/broken"
head -c 3000 "${models[0]}" >"$work/broken/broken.gguf"
sed 's/olmo2/olmo9/g' "$root/tests/golden/tiny/olmo2/model.gguf" >"$work/unknown.gguf" # of no known architecture
export MODEL=${MODEL:-${models[0]}} BROKEN=$work/broken/broken.gguf BROKEN_DIR=$work/broken
export UNKNOWN=$work/unknown.gguf
export LS_SOURCE_DIR=$root XDG_CONFIG_HOME=$work/config

failed=0
rm -f "$build/screenshots/$mode"/layerscope-*
for script in "$@"; do
  output=$build/screenshots/$mode
  read -ra options < <(sed -n 's/^# options: //p' "$script") || true
  if ! "${launch[@]}" "$build/layerscope" "${arguments[@]}" --script "$script" \
    --script-output "$output" --validation "${options[@]}"; then
    failed=1
  fi
done
exit $failed
