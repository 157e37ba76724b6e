#!/bin/bash
# The graphics device is lost (rehearsed: the N-th call of a kind finds it lost, and every one after it):
# the window says so, draws on with a new device, and the session and its pictures are what they would
# have been. Where no device can be made, the program ends with exit code 4 and the session is saved.
#
#   device_loss.sh BUILD_DIR offscreen|window
#
# Vulkan's validation layer watches where it is installed: no message, no object left behind.
# FLAGS: more options for every run. Exit 77 when the mode cannot run here.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
build=$(cd "${1:?BUILD_DIR}" && pwd)
mode=${2:?offscreen or window}
demo=("$root"/assets/demo/*.gguf)
export MODEL=${MODEL:-${demo[0]}}
launch=()
arguments=(--offscreen 1024x640)
if [ "$mode" = window ]; then
  command -v xvfb-run >/dev/null || { echo "xvfb-run is not installed"; exit 77; }
  launch=(xvfb-run -a -s "-screen 0 1920x1200x24 -noreset")
  arguments=()
fi
read -ra flags <<<"${FLAGS:-}"
arguments+=("${flags[@]}")
work=$(mktemp -d)
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
export XDG_CONFIG_HOME=$work/config
fail() {
  echo "$1"
  tail -n 20 "$work/log"
  exit 1
}
run() { # name losses message, then options
  mkdir -p "$work/$1"
  sed "s/@LOSSES@/$2/; s/@MESSAGE@/$3/" "$here/loss.script" >"$work/$1.script"
  "${launch[@]}" "$build/layerscope" "${arguments[@]}" --validation --script "$work/$1.script" \
    --script-output "$work/$1" "${@:4}" >"$work/log" 2>&1 || fail "$1: exit code $?"
  # A warning that the layer is missing is no message of the layer.
  ! grep -q 'Vulkan validation: ' "$work/log" || fail "$1: the validation layer has something to say"
  sed -n "s,^app/path: ,$1: ,p; s,^\(app/graphics/losses: .*\),  \1,p" "$work/log"
  [ "$1" = plain ] && return
  cmp "$work/plain/layerscope-attention.png" "$work/$1/layerscope-attention.png" ||
    fail "$1: the picture is another one"
}
again="it was started again"
run plain 0 ""
run submitting 1 "$again" --lose-device submit:40
run waiting 1 "$again" --lose-device wait:90
run first_frame 1 "$again" --lose-device submit:1
run thrice 3 "$again" --lose-device submit:60 --lose-device wait:9 --lose-device submit:2
run later 1 "$again" --lose-device submit:50 --lose-device create --lose-device create
if [ "$mode" = window ]; then
  run presenting 1 "$again" --lose-device present:30
fi

# No device any more: the end, in one sentence, and what was evaluated can be opened again.
give_up() { # name, then options
  mkdir -p "$work/$1"
  (cd "$work/$1" && "${launch[@]}" "$build/layerscope" "${arguments[@]}" --validation \
    --script "$here/no_way_on.script" --script-output . "${@:2}" >../log 2>&1)
  local code=$?
  [ $code -eq 4 ] || fail "$1: exit code $code instead of 4"
  ! grep -q 'Vulkan validation: ' "$work/log" || fail "$1: the validation layer has something to say"
  grep -q '^layerscope: the graphics device stopped answering .*saved as .*rescued.safetensors' \
    "$work/log" || fail "$1: it did not say what happened"
  "$build/layerscope" "$work/$1/layerscope-rescued.safetensors" --offscreen 800x600 \
    --screenshot "$work/$1/rescued.png" >"$work/log" 2>&1 || fail "$1: the rescued trace is bad"
  echo "$1: exit code 4, the session was saved"
}
none=()
for _ in 1 2 3 4; do none+=(--lose-device create); done
give_up no_device --lose-device submit:300 "${none[@]}"
give_up again_and_again --lose-device submit:300 --lose-device submit:2 --lose-device wait:2 \
  --lose-device submit:1
echo "losses of the device ($mode) passed"
