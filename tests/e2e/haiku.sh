#!/usr/bin/env bash
# The main job from the command line: a haiku that must contain the current minute in words, within
# 30 s; different prompts give different text; the same prompt the same text.
. "$(dirname "$0")/lib.sh"

ones=(zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
  sixteen seventeen eighteen nineteen)
tens=(- - twenty thirty forty fifty)
in_words() {
  local n=$1
  if [ "$n" -lt 20 ]; then
    echo "${ones[$n]}"
  elif [ $((n % 10)) -eq 0 ]; then
    echo "${tens[$((n / 10))]}"
  else
    echo "${tens[$((n / 10))]}-${ones[$((n % 10))]}"
  fi
}

ask() {
  timeout 30 "$cli" generate "$demo" --chat --prompt "$1" --tokens 60 --temperature 0 --quiet ||
    fail "no answer within 30 s to: $1"
}

minute=$(in_words "$((10#$(date +%M)))")
haiku=$(ask "Write a haiku about GPU computing. Use the word $minute.")
printf '%s\n' "$haiku"
[ "$(printf '%s\n' "$haiku" | grep -c .)" -eq 3 ] || fail "not three lines"
printf '%s\n' "$haiku" | grep -qiw -- "$minute" || fail "'$minute' is missing"

fixed=$(ask "Write a haiku about GPU computing. Use the word forty-six.")
[ "$(printf '%s\n' "$fixed" | grep -c .)" -eq 3 ] || fail "not three lines: $fixed"
printf '%s\n' "$fixed" | grep -qF forty-six || fail "forty-six is missing: $fixed"

for prompt in "Write a haiku about rivers. Use the word seven." "Write a haiku about snow. Use the word lantern."; do
  other=$(ask "$prompt")
  [ "$other" != "$fixed" ] || fail "different prompts gave the same text"
done
[ "$(ask "Write a haiku about rivers. Use the word seven.")" = "$(ask "Write a haiku about rivers. Use the word seven.")" ] ||
  fail "the same prompt gave different text at temperature 0"
