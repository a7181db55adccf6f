#!/bin/bash
# selftest.sh: every lint must catch a small tree that violates it, and pass one that does not.
set -u
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
number=0 failed=0
clean() {
  rm -rf "${tree:?}"/*
  mkdir -p "$tree/proto/base" "$tree/node/model" "$tree/kernels/cpu" "$tree/tests/lint"
  echo "# a folder" | tee "$tree/proto/base/README.md" "$tree/node/model/README.md" \
    "$tree/kernels/cpu/README.md" >"$tree/tests/lint/README.md"
  cp "$here/../../.clang-format" "$tree/"
  cp "$here/pure.list" "$tree/tests/lint/"
  printf 'int prng(void);\n' >"$tree/proto/base/prng.c"
}
# say OK NAME
say() {
  number=$((number + 1))
  if [ "$1" = yes ]; then echo "ok $number - $2"; else echo "not ok $number - $2"; failed=1; fi
}
lint() { CHECKS=$1 BUILD=$tree/build "$here/lint.sh" "$tree" 2>&1; }
# catches LINT WORD FILE: the text on standard input as FILE must be refused, in words with WORD;
# without the file the tree must pass, so that the lint does not refuse everything.
catches() {
  local said ok=yes
  clean
  said=$(lint "$1") || ok=no
  case $said in
    *'# SKIP'*) number=$((number + 1)); echo "not ok $number # SKIP $1: ${said##*SKIP }"; cat >/dev/null; return ;;
  esac
  [ $ok = yes ] || { say no "$1 passes a tree without fault"; echo "# $said"; }
  mkdir -p "$(dirname "$tree/$3")"
  cat >"$tree/$3"
  said=$(lint "$1") && ok=no
  [[ $said == *"$2"* ]] || ok=no
  say $ok "$1 catches: $2"
  [ $ok = yes ] || echo "# it said: ${said//$'\n'/ | }"
}
echo "1..20"
catches layers 'must not include "node/' proto/base/up.c <<<'#include "node/model/arch.h"'
catches layers 'must not include "kernels/' compress/up.c <<<'#include "kernels/shapes.h"'
catches layers 'from the top' node/model/near.c <<<'#include "arch.h"'
catches headers '<zmq.h> is not on the list' node/model/net.c <<<'#include <zmq.h>'
catches headers '<sodium.h> belongs in' node/model/secret.c <<<'#include <sodium.h>'
catches headers '<unistd.h> is the system' node/model/disk.c <<<'#include <unistd.h>'
catches names 'prng is taken' node/model/prng.h <<<'int twice(void);'
catches lengths '101 columns' proto/base/wide.c < <(printf '/* %095d */\n' 0)
catches lengths '71 lines' proto/base/long.c < <(
  echo 'int longer(void) {'; for _ in $(seq 69); do echo '  ;'; done; echo '}')
catches lengths '72 lines' proto/base/longer.c < <(
  printf 'int longest(int a,\n            int b) {\n'; for _ in $(seq 70); do echo '  ;'; done; echo '}')
catches banned 'call strcpy' proto/base/over.c <<<'void f(char *a) { strcpy(a, "//"); }'
catches banned 'call assert' proto/base/gone.c <<<'void f(int a) { assert(a); }'
catches banned 'typedef' proto/base/type.h <<<'typedef struct thing thing_t;'
catches banned '-ffast-math' Makefile <<<'CFLAGS = -ffast-math'
catches paths 'proto/base/where.c' proto/base/where.c < <(echo 'char *p = "/h''ome/me/data";')
catches readmes 'has no README.md' coordinator/new.c <<<'int new;'
catches readmes 'more than 40 lines' proto/base/README.md < <(seq 41)
catches format 'as clang-format' proto/base/loose.c <<<'int  loose( void );'
catches shell 'SC2086' deploy/loose.sh < <(printf '#!/bin/sh\nrm %s1\n' '$')
# Purity needs an object: one that calls fopen.
clean
mkdir -p "$tree/build/proto/base"
if ! command -v nm >/dev/null || ! command -v cc >/dev/null; then
  number=$((number + 1)); echo "not ok $number # SKIP purity: no compiler"
else
  rm "$tree/tests/lint/pure.list"
  echo proto/base/prng >"$tree/tests/lint/pure.list"
  printf 'double sqrt(double);\ndouble prng(double a) { return sqrt(a); }\n' |
    cc -fno-builtin -x c -c - -o "$tree/build/proto/base/prng.o"
  ok=yes
  lint purity >/dev/null || ok=no
  printf 'void *fopen(char *, char *);\nvoid *prng(void) { return fopen("a", "r"); }\n' |
    cc -fno-builtin -x c -c - -o "$tree/build/proto/base/prng.o"
  said=$(lint purity) && ok=no
  [[ $said == *'must not call fopen'* ]] || ok=no
  say $ok "purity catches a pure room that opens a file, and lets one take a root"
fi
exit $failed
