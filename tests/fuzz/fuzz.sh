#!/bin/sh
# fuzz.sh BUILD SECONDS TARGET…: each target so many seconds in turn; fails when one crashes, leaks,
# hangs or passes its memory. New inputs go to BUILD/corpus, crashes to BUILD/crashes.
set -u
build=$1
seconds=$2
shift 2
failed=0
[ $# -gt 0 ] || { echo "there is no fuzz target in tests/fuzz"; exit 1; }
mkdir -p "$build/crashes"
for name in "$@"; do
  mkdir -p "$build/corpus/$name"
  seeds=tests/fuzz/corpus/$name
  [ -d "$seeds" ] || seeds=
  echo "fuzz $name: $seconds s"
  # shellcheck disable=SC2086
  if ! "$build/tests/fuzz_$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$build/crashes/$name-" \
    "$build/corpus/$name" $seeds >"$build/$name.log" 2>&1; then
    tail -40 "$build/$name.log"
    echo "fuzz $name: FAILED; the whole output is in $build/$name.log"
    failed=1
  else
    sed -n 's/^stat::number_of_executed_units: */  inputs tried: /p' "$build/$name.log"
  fi
done
exit $failed
