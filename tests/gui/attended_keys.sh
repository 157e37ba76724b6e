#!/bin/bash
# Key chords in a window that a person would use (no script driver): every one must count, however
# slow frames are.
#
#   attended_keys.sh BUILD_DIR
#
# A 4K window on software Vulkan draws a few frames a second, far fewer than the 30 ms between two
# chords here. What they did is read from the settings that the program writes when it is left.
set -uo pipefail
build=$(cd "${1:?BUILD_DIR}" && pwd)
for tool in xvfb-run xdotool; do
  command -v $tool >/dev/null || { echo "$tool is not installed"; exit 77; }
done
root=$(cd "$(dirname "$0")/../.." && pwd)
models=("$root"/assets/demo/*.gguf)
[ -e "${models[0]}" ] || { echo "assets/demo has no model"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CONFIG_HOME=$work/config
mkdir -p "$XDG_CONFIG_HOME/layerscope"
echo '{"window": {"width": 3800, "height": 2100}, "dark": true, "font_scale": 1.0}' \
  >"$XDG_CONFIG_HOME/layerscope/settings.json"
export PROGRAM=$build/layerscope MODEL_FILE=${models[0]}
# shellcheck disable=SC2016 # expanded by the inner shell
xvfb-run -a -s "-screen 0 3840x2160x24" bash -c '
  "$PROGRAM" "$MODEL_FILE" >"'"$work"'/log" 2>&1 & pid=$!
  for _ in $(seq 150); do
    window=$(xdotool search --onlyvisible --name "Layerscope$" 2>/dev/null | head -1)
    [ -n "$window" ] && break
    sleep 0.2
  done
  [ -n "$window" ] || { echo "no window appeared"; kill $pid; exit 1; }
  sleep 1
  xdotool windowfocus "$window" mousemove 1900 1000
  xdotool key --delay 30 ctrl+t ctrl+equal ctrl+equal ctrl+t ctrl+t ctrl+equal ctrl+minus ctrl+equal
  xdotool key --delay 30 ctrl+q
  for _ in $(seq 150); do
    kill -0 $pid 2>/dev/null || { wait $pid; exit $?; }
    sleep 0.2
  done
  echo "Ctrl+Q did not end the program"
  kill $pid
  exit 1'
status=$?
if [ $status -ne 0 ]; then
  cat "$work/log"
  exit 1
fi
settings=$XDG_CONFIG_HOME/layerscope/settings.json
grep -q '"dark": false' "$settings" && grep -Eq '"font_scale": 1\.(3|30000|29999)' "$settings" || {
  echo "expected a light theme (3 toggles) and text 1.3 times (4 up, 1 down):"
  cat "$settings"
  exit 1
}
echo "9 chords in a row, every one carried out"
