#!/bin/bash
# Proves that run_tests.sh counts passed, failed, skipped, disabled and unstartable tests, ends with
# the one line that others rely on, and fails exactly when a test failed.
set -uo pipefail
run=$(cd "$(dirname "$0")/../tools" && pwd)/run_tests.sh
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
failures=0

# expect <last line> <exit status> <pattern that the output must hold>: runs over CTestTestfile.cmake.
expect() {
  local output status
  output=$("$run" "$build" 2>&1)
  status=$?
  if [ "$(tail -n 1 <<<"$output")" != "$1" ] || [ "$status" -ne "$2" ] || ! grep -q -- "$3" <<<"$output"; then
    printf 'expected "%s", exit %s, with "%s"; got exit %s:\n%s\n' "$1" "$2" "$3" "$status" "$output"
    failures=$((failures + 1))
  fi
}

good='add_test(good "/bin/sh" "-c" "exit 0")'
gpu='add_test(gpu "/bin/sh" "-c" "exit 1")
set_tests_properties(gpu PROPERTIES LABELS gpu)'
skip='add_test(skip "/bin/sh" "-c" "echo no such file; exit 77")
set_tests_properties(skip PROPERTIES SKIP_RETURN_CODE 77)'
disabled='add_test(disabled "/bin/sh" "-c" "exit 1")
set_tests_properties(disabled PROPERTIES DISABLED TRUE)'
bad='add_test(bad "/bin/sh" "-c" "echo a reason \\<with\\> \\&; exit 3")'
unstartable='add_test(unstartable "/nonexistent/program")'

printf '%s\n' "$good" "$gpu" >"$build/CTestTestfile.cmake"
expect "1 passed, 0 failed" 0 "."
printf '%s\n' "$good" "$skip" "$disabled" >"$build/CTestTestfile.cmake"
expect "1 passed, 0 failed, 2 skipped" 0 "skipped skip: no such file"
printf '%s\n' "$good" "$bad" "$skip" >"$build/CTestTestfile.cmake"
expect "1 passed, 1 failed, 1 skipped" 1 "a reason <with> &"
printf '%s\n' "$good" "$unstartable" >"$build/CTestTestfile.cmake"
expect "1 passed, 1 failed" 1 "FAILED  unstartable"
: >"$build/CTestTestfile.cmake"
expect "0 passed, 1 failed" 1 "no test"
echo 'this is no cmake' >"$build/CTestTestfile.cmake"
expect "0 passed, 1 failed" 1 "."
rm "$build/CTestTestfile.cmake"
expect "0 passed, 1 failed" 1 "has no tests"

[ "$failures" -eq 0 ] && echo "7 cases as expected"
exit $((failures != 0))
