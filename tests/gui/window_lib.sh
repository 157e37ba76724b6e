# Shared by the scripts that drive the window program, offscreen or in a window under Xvfb.
#
#   build=…; mode=offscreen|window; . …/window_lib.sh
#
# Sources the end-to-end library first (serve_lib.sh where $with_worker is set), so that $demo, $cli,
# $tmp and fail are there. Ends with 77 where the mode cannot run here.
export LS_BUILD_DIR=$build
gui_tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$gui_tests/../e2e/${with_worker:+serve_}lib.sh"
launch=()
arguments=(--offscreen 1600x1000)
if [ "$mode" = window ]; then
  command -v xvfb-run >/dev/null || {
    echo "xvfb-run is not installed"
    exit 77
  }
  # -noreset: the server would otherwise end between two clients of one script.
  launch=(xvfb-run -a -s "-screen 0 1920x1200x24 -noreset")
  arguments=()
fi
export XDG_CONFIG_HOME=$tmp/config MODEL=$demo
pictures=$build/screenshots/$mode
mkdir -p "$pictures"

# window SCRIPT OPTIONS...: runs it; what it prints lands in $tmp/out, what it saves in $tmp/exports,
# its pictures also in $pictures.
window() {
  local script=$1
  shift
  "${launch[@]}" "$build/layerscope" "${arguments[@]}" "$@" --script "$script" --script-timeout 60 \
    --script-output "$tmp/exports" --validation >"$tmp/out" 2>"$tmp/err" ||
    fail "$script: $(tail -5 "$tmp/err")"
  cp "$tmp"/exports/*.png "$pictures/" 2>/dev/null
  return 0
}
