#!/bin/bash
# check.sh: what continuous integration looks at. Every compiler with its warnings as errors, all
# tests as released, then unit tests and corpora under address and undefined-behaviour sanitizers,
# and the threaded rooms under the thread sanitizer.
set -u
jobs=$(nproc)
failure=$(mktemp -u) # a file that is there once something has failed, in a pipe's part too
trap 'rm -f "$failure"' EXIT
step() {
  echo "== $*"
  "$@" || { touch "$failure"; echo "== FAILED: $*"; }
}
build() { step make --no-print-directory -s -j"$jobs" WERROR=1 "$@" | grep -Ev "^  (cc|test|link|replay) "; }
build tests
build CC=clang tests
build VARIANT=asan tests
build VARIANT=tsan tests
step tests/run.sh build/release
step tests/run.sh build/asan unit replay
for word in test_log test_cpu test_engine test_trainer; do
  FILTER=$word step tests/run.sh build/tsan unit
done
[ ! -e "$failure" ] || { echo "check: something failed, see above"; exit 1; }
echo "check: all good"
