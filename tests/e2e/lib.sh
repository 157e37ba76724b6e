# Shared by the end-to-end scripts: paths, and checks that say what they expected.
set -u
source_dir="${LS_SOURCE_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
build_dir="${LS_BUILD_DIR:-$source_dir/build}"
shared_dir="${LS_SHARED_DIR:-$source_dir/../shared}"
cli="$build_dir/layerscope-cli"
demo=$(ls "$source_dir"/assets/demo/*.gguf)
models="$source_dir/tests/golden/models"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fail() {
  echo "FAILED: $*" >&2
  exit 1
}

# expect_exit CODE COMMAND...: runs the command with stdout in $tmp/out and stderr in $tmp/err.
expect_exit() {
  local want=$1
  shift
  "$@" >"$tmp/out" 2>"$tmp/err"
  local got=$?
  [ "$got" -eq "$want" ] || fail "exit $got instead of $want from: $* ($(head -c 300 "$tmp/err"))"
}

# expect_error CODE TEXT COMMAND...: fails with one sentence on stderr that contains TEXT.
expect_error() {
  local want=$1 text=$2
  shift 2
  expect_exit "$want" "$@"
  grep -qF -- "$text" "$tmp/err" || fail "'$text' is not in the error of: $* ($(cat "$tmp/err"))"
  [ "$(grep -c '^error: ' "$tmp/err")" -eq 1 ] || fail "not exactly one error line from: $*"
}
