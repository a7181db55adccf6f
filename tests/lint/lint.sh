#!/bin/bash
# lint.sh [ROOT]: the habits of this code that a machine can check, one TAP line each. What each
# wants is said at its function; tests/lint/selftest.sh shows that each catches what it is for.
# BUILD=folder of built objects, for the check of pure rooms (default build/release).
#
# The checks are called by name, so shellcheck takes them for dead.
# shellcheck disable=SC2317
set -u
export LC_ALL=C
build=${BUILD:-build/release}
case $build in /*) ;; *) build=$PWD/$build ;; esac
cd "${1:-$(dirname "$0")/../..}" || exit 66

files() { # files NAME-PATTERN…: sorted, without what is built
  local names=()
  for n in "$@"; do names+=(-o -name "$n"); done
  find . \( -path ./build -o -path ./.git \) -prune -o -type f \( "${names[@]:1}" \) -print |
    sed 's|^\./||' | sort
}
code=$(files '*.c' '*.h' '*.cu')
scripts=$(files '*.sh'; [ -f .ci/run ] && echo .ci/run)
number=0 failed=0
check() { # check NAME: runs lint_NAME; whatever it prints is a violation
  local found
  number=$((number + 1))
  found=$("lint_$1" 2>&1)
  case $found in
    '') echo "ok $number - $1" ;;
    SKIP*) echo "not ok $number # SKIP $1: ${found#SKIP }" ;;
    *) echo "not ok $number - $1"; echo "# ${found//$'\n'/$'\n'# }"; failed=1 ;;
  esac
}
# Code without comments and the inside of strings, as FILE:LINE:TEXT.
bare() {
  # shellcheck disable=SC2086
  awk 'FNR == 1 { inside = 0 }
    { text = $0; out = ""
      if (text !~ /^[ \t]*#[ \t]*include/) { gsub(/\\./, "", text); gsub(/"[^"]*"/, "\"\"", text) }
      sub(/(^|[^:])\/\/.*/, "", text)
      while (text != "") {
        if (inside) { i = index(text, "*/"); if (!i) break; text = substr(text, i + 2); inside = 0 }
        else { i = index(text, "/*"); if (!i) { out = out text; break }
          out = out substr(text, 1, i - 1); text = substr(text, i + 2); inside = 1 }
      }
      print FILENAME ":" FNR ":" out }' $code /dev/null
}

# A folder includes only what lies below it, always by its path from the top.
lint_layers() {
  bare | awk -F: '
    BEGIN { may["proto"] = "proto"; may["compress"] = "proto compress"; may["kernels"] = "proto kernels"
      may["coordinator"] = "proto coordinator"; may["node"] = "proto compress kernels node" }
    $3 ~ /^[ \t]*#[ \t]*include[ \t]*"/ {
      to = $3; sub(/^[^"]*"/, "", to); sub(/".*/, "", to)
      from = $1; sub(/\/.*/, "", from); top = to; sub(/\/.*/, "", top)
      if (from == "tests" && to !~ /\//) next
      if (to !~ /\//) print $1 ":" $2 ": include \"" to "\" by its path from the top"
      else if (from != "tests" && index(" " may[from] " ", " " top " ") == 0)
        print $1 ":" $2 ": " from "/ must not include \"" to "\"" }'
}

# Third-party headers stay in few places, and the system in io_*, command_*, main and the log.
lint_headers() {
  bare | awk -F: '
    BEGIN {
      # The log is shared by threads and writes the time; the choice of BLAS kernels is made once.
      excused["proto/base/log.c"] = excused["kernels/cpu/cpu_product.c"] = 1
      n = split("assert complex ctype errno float inttypes limits locale math setjmp stdalign stdarg" \
        " stdatomic stdbool stddef stdint stdio stdlib string", s, " ")
      for (i = 1; i <= n; i++) ours[s[i] ".h"] = 1
      in_["sodium.h"] = "^proto/"; in_["zstd.h"] = "^(compress|node/data)/"; in_["jansson.h"] = "^node/"
      in_["yaml.h"] = "^node/train/";
      in_["cblas.h"] = in_["immintrin.h"] = in_["cpuid.h"] = "^kernels/cpu/"
      in_["cuda.h"] = in_["cuda_runtime.h"] = in_["cublas_v2.h"] = "^(kernels/cuda|node/pool)/"
    }
    $1 ~ /^tests\// || $3 !~ /^[ \t]*#[ \t]*include[ \t]*</ { next }
    { name = $3; sub(/^[^<]*</, "", name); sub(/>.*/, "", name)
      base = $1; sub(/.*\//, "", base)
      if (name in ours) next
      if (name in in_) { if ($1 !~ in_[name]) print $1 ":" $2 ": <" name "> belongs in " in_[name] }
      else if (name ~ /^(unistd|fcntl|pthread|signal|time|dirent|sched|poll|dlfcn|sys\/.*)\.h$/) {
        if (base !~ /^(io_|command_|main\.)/ && !($1 in excused))
          print $1 ":" $2 ": <" name "> is the system: only in io_*, command_* and main" }
      else print $1 ":" $2 ": <" name "> is not on the list of headers in tests/lint/lint.sh" }'
}

# Pure rooms (pure.list) call nothing but ours, mem*, str*, text into memory, and libm.
lint_purity() {
  command -v nm >/dev/null || { echo "SKIP there is no nm"; return; }
  [ -d "$build/proto" ] || { echo "SKIP nothing is built in $build"; return; }
  local ours libm='sqrt|log|log1p|exp|expm1|cos|sin|tanh|pow|floor|ceil|fabs|erf|fmod|ldexp'
  libm="$libm|round|lround|llround|rint|nearbyint|trunc"
  local compiler='_GLOBAL_OFFSET_TABLE_|__[a-z]+ti[0-9]|__(asan|ubsan|tsan|stack_chk)_.*'
  ours=$(find "$build" -name '*.o' ! -name 'io_*' ! -name 'log.o' ! -name 'command_*' \
    -exec nm -g --defined-only {} + 2>/dev/null | awk 'NF == 3 { print $3 }' | sort -u)
  grep -v '^#' tests/lint/pure.list | while read -r room; do
    [ -f "$room.c" ] || continue
    [ -f "$build/$room.o" ] || { echo "$room is in pure.list, but $build/$room.o is not there"; continue; }
    nm -u "$build/$room.o" | awk '{ sub(/@.*/, "", $2); print $2 }' |
      grep -Evx "mem[a-z]+|str[a-z]+|v?snprintf|($libm)f?|$compiler" |
      grep -Fvx "$ours" | sed "s|^|$room is pure and must not call |"
  done
}

# One name, one room: the base name is the prefix of its symbols.
lint_names() {
  # shellcheck disable=SC2086
  printf '%s\n' $code | awk -F/ '{ base = $NF; sub(/\.[^.]*$/, "", base); folder = $0
    sub(/\/?[^\/]*$/, "", folder)
    if (base == "main" || base == "options") next
    if (base in seen && seen[base] != folder) print $0 ": the name " base " is taken in " seen[base] "/"
    seen[base] = folder }'
}

# One screen: 70 lines a function, 100 columns a line (120 in scripts).
lint_lengths() {
  # shellcheck disable=SC2086
  awk 'FNR == 1 { begin = 0 }
    { columns = $0; gsub(/[\200-\277]/, "", columns)
      most = FILENAME ~ /\.(c|cu|h)$/ ? 100 : 120
      if (length(columns) > most) print FILENAME ":" FNR ": " length(columns) " columns, at most " most }
    FILENAME !~ /\.(c|cu|h)$/ { next }
    /^[^ \t#}].*\) \{$/ || (/^ +.*\) \{$/ && open_head) { if (!begin) begin = FNR }
    { open_head = /^[^ \t#}\/].*[(,]$/ || (open_head && /^ .*,$/) }
    /^}/ { if (begin && FNR - begin + 1 > 70)
        print FILENAME ":" begin ": a function of " FNR - begin + 1 " lines, at most 70"
      begin = 0 }' $code $scripts /dev/null
}

# Calls that overflow, swallow errors, start a shell, or vanish in a release.
lint_banned() {
  bare | awk -F: '{ text = $0; sub(/^[^:]*:[^:]*:/, "", text); text = " " text
    call = "[^A-Za-z0-9_>.](strcpy|strcat|v?sprintf|strtok|gets|s?rand|alloca|tmpnam) ?\\("
    if (match(text, call) ||
      $1 !~ /^tests\// && match(text, /[^A-Za-z0-9_>.](atoi|atoll?|atof|assert|longjmp|system|popen) ?\(/))
      print $1 ":" $2 ": banned call " substr(text, RSTART + 1, RLENGTH - 2)
    if (text ~ /typedef +(struct|union|enum)/ || text ~ /typedef .*_t;/)
      print $1 ":" $2 ": no typedef of a struct, and no _t of ours" }'
  [ ! -f Makefile ] || grep -nE -- '-ffast-math|-Ofast|-ffp-contract=(fast|on)' Makefile |
    grep -v '^[0-9]*: *#'
}

# No path of one machine.
lint_paths() {
  find . \( -path ./build -o -path ./.git \) -prune -o -type f -size -1000k -print0 |
    xargs -0 grep -InE '(^|[^A-Za-z0-9_.-])/(work|home|root)/' /dev/null | cut -c1-160
}

# Every folder with code says in at most 40 lines what it is for.
lint_readmes() {
  files '*.c' '*.h' '*.cu' '*.sh' '*.py' | sed -n 's|/[^/]*$||p' | sort -u | while read -r folder; do
    if [ ! -f "$folder/README.md" ]; then
      echo "$folder/ has no README.md"
    elif [ "$(wc -l <"$folder/README.md")" -gt 40 ]; then
      echo "$folder/README.md has more than 40 lines"
    fi
  done
}

# Laid out by clang-format; other versions than 14 lay out differently.
lint_format() {
  command -v clang-format >/dev/null || { echo "SKIP there is no clang-format"; return; }
  clang-format --version | grep -q 'version 14\.' ||
    { echo "SKIP the layout is that of clang-format 14"; return; }
  # shellcheck disable=SC2086
  clang-format --dry-run $code 2>&1 | grep warning: | cut -d: -f1,2 | uniq |
    sed 's/$/: not as clang-format lays it out/'
}

lint_shell() {
  command -v shellcheck >/dev/null || { echo "SKIP there is no shellcheck"; return; }
  # shellcheck disable=SC2086
  [ -z "$scripts" ] || shellcheck -f gcc $scripts
}

checks=${CHECKS:-layers headers purity names lengths banned paths readmes format shell}
echo "1..$(wc -w <<<"$checks")"
for c in $checks; do check "$c"; done
exit $failed
