#!/bin/bash
# Runs ctest over a build folder and reports: one line and the output of every failed test, one line
# with the reason of every skipped one; the last line is "N passed, N failed" (", N skipped").
#
#   run_tests.sh [BUILD_DIR] [ctest arguments...]
#
# Without ctest arguments everything runs but the tests labelled gpu. The counts are read from
# ctest's own JUnit report, which stays in BUILD_DIR/tests.xml. Exit 0 if nothing failed, else 1.
set -uo pipefail

build=${1:-build}
shift || true
if [ $# -eq 0 ]; then set -- -LE gpu; fi
jobs=$(nproc 2>/dev/null || echo 2)

if [ ! -f "$build/CTestTestfile.cmake" ]; then
  echo "$build has no tests: configure with -DLS_BUILD_TESTS=ON" >&2
  echo "0 passed, 1 failed"
  exit 1
fi
build=$(cd "$build" && pwd)
report=$build/tests.xml
rm -f "$report"

# On a terminal ctest shows its progress; in a log its line per test would bury the failures.
if [ -t 1 ]; then
  ctest --test-dir "$build" --progress -j "$jobs" --output-junit "$report" "$@" 2>"$build/ctest.err"
else
  echo "Running the tests (ctest, $jobs at a time; log: $build/Testing/Temporary/LastTest.log)"
  ctest --test-dir "$build" -j "$jobs" --output-junit "$report" "$@" >"$build/ctest.out" 2>"$build/ctest.err"
fi
status=$?

if [ ! -s "$report" ]; then
  cat "$build/ctest.err" >&2
  echo "ctest wrote no report (exit $status)"
  echo "0 passed, 1 failed"
  exit 1
fi

awk -v ctest_status="$status" '
  function unescape(s) {
    gsub(/&lt;/, "<", s); gsub(/&gt;/, ">", s); gsub(/&quot;/, "\"", s); gsub(/&apos;/, "'\''", s)
    gsub(/&amp;/, "\\&", s)
    return s
  }
  function attribute(line, name,    from) {
    from = index(line, " " name "=\"")
    if (!from) return ""
    line = substr(line, from + length(name) + 3)
    return unescape(substr(line, 1, index(line, "\"") - 1))
  }
  function finish(    i, reason) {
    if (name == "") return
    if (state == "run") passed++
    else if (state == "fail") {
      failed++
      printf "FAILED  %s (%.1f s)\n", name, time
      for (i = 1; i <= n; i++) print "    " output[i]
    } else {
      skipped++
      reason = "disabled"
      # GoogleTest prints "file:line: Skipped" and the reason below it; a command prints its own.
      for (i = 1; i <= n; i++) if (output[i] ~ /: Skipped$/) { reason = output[i + 1]; break }
      if (i > n && state == "skip") {
        reason = "exit code 77"
        for (i = n; i >= 1; i--) if (output[i] ~ /[^ \t]/) { reason = output[i]; break }
      }
      printf "skipped %s: %s\n", name, reason
    }
    name = ""
  }
  /^[ \t]*<testcase / {
    name = attribute($0, "name"); time = attribute($0, "time"); n = 0; text = 0
    state = attribute($0, "status")
    # "notrun" is a skip only when ctest says so; otherwise the test could not be started.
    if (state != "run" && state != "disabled") state = "fail"
    next
  }
  !text && /<skipped message="SKIP_/ { state = "skip" }
  !text && /<system-out>/ { text = 1; sub(/^.*<system-out>/, "") }
  text {
    line = $0
    last = sub(/<\/system-out>.*$/, "", line)
    if (!(last && line == "")) output[++n] = unescape(line)
    if (last) text = 0
    next
  }
  /<\/testcase>/ { finish() }
  END {
    finish()
    if (passed + failed + skipped == 0) { print "no test was found"; failed = 1 }
    # ctest may fail for a reason that no test shows, for instance a broken test file.
    if (ctest_status != 0 && !failed) { print "ctest failed (exit " ctest_status ")"; failed = 1 }
    printf "%d passed, %d failed", passed, failed
    if (skipped) printf ", %d skipped", skipped
    print ""
    exit failed != 0
  }' "$report"
