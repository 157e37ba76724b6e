#!/bin/bash
# The main job on the demo model: a window where there is a display; otherwise the same window
# rendered offscreen, with the generated text and the path of a PNG in the terminal.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
build=${1:-$root/build}
prompt="Write a haiku about GPU computing. Use the word forty-six."

shopt -s nullglob
models=("$root"/assets/demo/*.gguf)
if [ ${#models[@]} -eq 0 ]; then
  echo "run_demo: no *.gguf in assets/demo" >&2
  exit 3
fi
if [ ! -x "$build/layerscope" ]; then
  echo "run_demo: $build/layerscope is not built: make build" >&2
  exit 1
fi
if [ -n "${DISPLAY:-}" ] || [ -n "${WAYLAND_DISPLAY:-}" ]; then
  exec "$build/layerscope" "${models[0]}" --chat --prompt "$prompt"
fi
echo "No display: rendering the window offscreen."
exec "$build/layerscope" "${models[0]}" --chat --prompt "$prompt" --offscreen 1600x1000 \
  --exit-after 60 --screenshot "$build/run.png"
