#!/bin/bash
# run.sh BUILD [PART…]: runs what `make tests` built and counts every single test.
#
# PART: unit replay e2e lint (all of them when none is given). Every test program writes TAP lines;
# a program that dies, or reports fewer tests than it announced, counts as failed. The last line is
# "N passed, N failed, N skipped". FILTER=word runs only the programs with that in their name.
set -u
build=$1
shift
parts=${*:-unit replay e2e lint}
export LC_ALL=C.UTF-8 CMOCKA_MESSAGE_OUTPUT=TAP BUILD="$build"
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:abort_on_error=0" UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0 skipped=0
log=$(mktemp)
skips=$(mktemp)
failures=$(mktemp)
trap 'rm -f "$log" "$skips" "$failures"' EXIT

# run NAME COMMAND…
run() {
  local name=$1 begin=$SECONDS rc=0 counts
  shift
  [[ $name == *"${FILTER:-}"* ]] || return 0
  timeout -k 10 "${TEST_SECONDS_MAX:-900}" "$@" >"$log" 2>&1 </dev/null || rc=$?
  counts=$(awk -v name="$name" -v rc="$rc" -v skips="$skips" -v failures="$failures" '
    /^1\.\.[0-9]+/ { sub(/^1\.\./, ""); plan += $1 + 0 }
    /^(not )?ok [0-9]+.*# SKIP/ { skip++; sub(/.*# SKIP */, ""); print "  " name ": " $0 >>skips; next }
    /^ok [0-9]+/ { ok++; next }
    /^not ok [0-9]+/ { bad++; print "  " name ": " $0 >>failures }
    END {
      lost = plan - ok - bad - skip
      if (lost > 0) { bad += lost; print "  " name ": " lost " tests never reported, exit " rc >>failures }
      else if (rc != 0 && bad == 0) { bad = 1; print "  " name ": ended with exit " rc >>failures }
      else if (ok + bad + skip == 0) { bad = 1; print "  " name ": reported no test at all" >>failures }
      print ok + 0, bad + 0, skip + 0
    }' "$log")
  read -r ok bad skip <<<"$counts"
  printf '%-34s %4d passed %3d failed %3d skipped %5d s\n' "$name" "$ok" "$bad" "$skip" \
    $((SECONDS - begin))
  if [ "$bad" -gt 0 ]; then
    grep -v '^ok ' "$log" | tail -60 | sed 's/^/    /'
  elif [ "$skip" -gt 0 ]; then
    grep -B2 '# SKIP' "$log" | sed 's/^/    /'
  fi
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

for part in $parts; do
  case $part in
    unit) for t in tests/unit/test_*.c; do
      t=$(basename "$t" .c)
      run "unit $t" "$build/tests/$t"
    done ;;
    replay) for t in tests/fuzz/fuzz_*.c; do
      [ -e "$t" ] || continue
      t=$(basename "$t" .c)
      t=${t#fuzz_}
      run "replay $t" "$build/tests/replay_$t" tests/fuzz/corpus/"$t"/*
    done ;;
    e2e) for t in tests/e2e/*.sh; do
      [ -x "$t" ] && run "e2e $(basename "$t" .sh)" "$t" "$build"
    done ;;
    lint) run "lint" tests/lint/lint.sh
      run "lint selftest" tests/lint/selftest.sh ;;
    *) echo "run.sh: there is no part '$part'" >&2; exit 64 ;;
  esac
done
[ -s "$skips" ] && { echo "SKIPPED:"; cat "$skips"; }
[ -s "$failures" ] && { echo "FAILED:"; cat "$failures"; }
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
