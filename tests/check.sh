#!/bin/bash
# check.sh: what continuous integration looks at. Every compiler with its warnings as errors, all
# tests as released, then unit tests and corpora under address and undefined-behaviour sanitizers,
# and the threaded rooms under the thread sanitizer.
set -u
jobs=$(nproc)
failed=0
step() {
  echo "== $*"
  "$@" || { failed=1; echo "== FAILED: $*"; }
}
build() { step make --no-print-directory -s -j"$jobs" WERROR=1 "$@" >/dev/null; }
build tests
build CC=clang tests
build VARIANT=asan tests
build VARIANT=tsan tests
step tests/run.sh build/release
step tests/run.sh build/asan unit replay
for word in log cpu pool; do
  FILTER=$word step tests/run.sh build/tsan unit
done
[ $failed -eq 0 ] && echo "check: all good"
exit $failed
