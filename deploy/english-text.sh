#!/bin/sh
# english-text.sh OUT: four megabytes of English to train on, the King James Bible from the
# distribution's package bible-kjv, one verse a line.
#
# OUT ending in .jsonl gets one record {"text": …} a chapter; anything else plain text with an empty
# line between chapters. Installs the package when it is missing (deploy/install-deps.sh).
set -eu
[ $# -eq 1 ] || { echo "usage: english-text.sh OUT" >&2; exit 64; }
out=$1
command -v bible >/dev/null || "$(dirname "$0")/install-deps.sh"
case $out in *.jsonl) jsonl=1 ;; *) jsonl=0 ;; esac
partial=$out.partial-$$
trap 'rm -f "$partial"' EXIT

# Every verse comes as "Ge1:1 In the beginning …"; chapters are the part before the colon.
LC_ALL=C bible -f 'gen1:1-rev22:21' </dev/null | LC_ALL=C awk -v jsonl="$jsonl" '
  function end_chapter() {
    if (text == "") return
    if (jsonl) {
      gsub(/\\/, "\\\\", text); gsub(/"/, "\\\"", text); gsub(/\n/, "\\n", text); gsub(/\t/, "\\t", text)
      printf "{\"text\": \"%s\"}\n", text
    } else {
      printf "%s%s", chapters++ ? "\n" : "", text
    }
    text = ""
  }
  match($0, /^[1-3]?[A-Za-z]+[0-9]+:[0-9]+ /) {
    place = substr($0, 1, RLENGTH - 1); sub(/:.*/, "", place)
    if (place != chapter) end_chapter()
    chapter = place
    text = text substr($0, RLENGTH + 1) "\n"
  }
  END { end_chapter() }' >"$partial"
bytes=$(wc -c <"$partial")
[ "$bytes" -gt 4000000 ] || {
  echo "english-text: 'bible' printed only $bytes bytes; is the package bible-kjv whole?" >&2
  exit 66
}
mv "$partial" "$out"
