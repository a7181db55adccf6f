#!/bin/bash
# bench.sh: how fast this machine trains a small GPT with ours and with others, and tokenizes.
#
#   tests/bench/bench.sh BUILD      BUILD: the folder that holds tests/bench_train (make bench)
#
# The trainers take turns, so that a busy machine is unfair to all of them alike, and the median of
# the rounds counts. PyTorch runs with whichever number of its own and of OpenBLAS' threads, and
# whichever of OpenBLAS' kernels, it is fastest with. Variables:
#   ROUNDS=3               turns of each
#   PYTHON=/usr/bin/python3   one that can import torch (Debian: python3-torch)
#   LLMC_TRAINER=path      llm.c's train_gpt2 built for L6 C384 H6 T256 B4: called with the
#                          vocabulary's size, its "took X ms" lines are read
# Takes four to six minutes. Ends with one line per figure.
set -eu
export LC_ALL=C
build=$1
here=$(dirname "$0")
ours=$build/tests/bench_train
rounds=${ROUNDS:-3}
python=${PYTHON:-/usr/bin/python3}
cores=$(nproc)
tokens=1024
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

median() { sort -g | awk '{v[NR] = $1} END {
  if (NR) printf "%.6g\n", NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
field() { awk -v name="$1" '$1 == name {print $2}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {printf "%.2f", a / b}'; }

# run_ours V STEPS LABEL, run_torch V STEPS LABEL: results are added to files of $work
keep() {
  field tokens_per_s <"$work/out" >>"$work/$1.rate"
  field peak_mb <"$work/out" >>"$work/$1.peak_mb"
}
run_ours() {
  "$ours" "$1" "$2" >"$work/out"
  keep "$3"
  field share <"$work/out" >>"$work/$3.share"
  field products <"$work/out" >>"$work/products"
}
run_torch() {
  env OPENBLAS_NUM_THREADS="$blas_threads" ${core_type:+OPENBLAS_CORETYPE=$core_type} \
    "$python" "$here/train_pytorch.py" "$1" "$2" "$torch_threads" >"$work/out"
  keep "$3"
}
run_llmc() {
  "$LLMC_TRAINER" "$1" 2>&1 | grep -o 'took [0-9.]* ms' |
    awk -v n="$tokens" 'NR > 2 {print n / ($2 / 1000)}' | median >>"$work/$2.rate"
}

# The fastest way to run PyTorch here, by a few steps of each, the better of two tries.
choose_torch() {
  local best=0 rate
  for choice in "1 1" "1 $cores" "$cores 1" "$cores $cores" "1 1 Haswell" "1 $cores Haswell"; do
    read -r torch_threads blas_threads core_type <<<"$choice"
    rm -f "$work/probe.rate"
    run_torch 512 3 probe
    run_torch 512 3 probe
    rate=$(sort -g "$work/probe.rate" | tail -1)
    printf '  %-44s %8.0f tokens/s\n' \
      "torch threads $torch_threads, OpenBLAS $blas_threads ${core_type:-}" "$rate"
    if awk -v a="$rate" -v b="$best" 'BEGIN {exit !(a > b)}'; then
      best=$rate
      chosen=$choice
    fi
  done
  read -r torch_threads blas_threads core_type <<<"$chosen"
}

show() { # LABEL NAME
  [ -s "$work/$1.rate" ] || return 0
  local peak_mb=""
  [ ! -s "$work/$1.peak_mb" ] || peak_mb="$(median <"$work/$1.peak_mb") MB at most"
  printf '  %-24s %8.0f tokens/s   %s\n' "$2" "$(median <"$work/$1.rate")" "$peak_mb"
}

has_torch=0
if "$python" -c 'import torch' 2>"$work/why"; then
  has_torch=1
  echo "PyTorch $("$python" -c 'import torch; print(torch.__version__)'), trying its settings:"
  choose_torch
else
  echo "SKIP: no PyTorch for $python ($(tail -1 "$work/why")): apt-get install python3-torch"
fi
[ -n "${LLMC_TRAINER:-}" ] || echo "SKIP: no llm.c: LLMC_TRAINER is not set"

for round in $(seq "$rounds"); do
  echo "round $round of $rounds"
  run_ours 512 24 ours512
  [ $has_torch = 0 ] || run_torch 512 16 torch512
  [ -z "${LLMC_TRAINER:-}" ] || run_llmc 512 llmc512
  run_ours 50304 7 ours50304
  [ $has_torch = 0 ] || run_torch 50304 5 torch50304
done

echo
echo "L6 C384 H6 T256 B4, forward + backward + AdamW, f32, $cores cores; median of $rounds rounds"
echo "  matrix products          $(median <"$work/products") GFLOP/s on $cores threads"
for V in 512 50304; do
  echo "V = $V"
  show "ours$V" ours
  show "torch$V" "PyTorch"
  show "llmc$V" "llm.c"
done
echo
rate() { median <"$work/$1.rate"; }
peak_mb() { median <"$work/$1.peak_mb"; }
echo "figure train_tokens_per_s_v512 $(rate ours512) tokens/s"
echo "figure train_tokens_per_s_v50304 $(rate ours50304) tokens/s"
if [ $has_torch = 1 ]; then
  for V in 512 50304; do
    echo "figure train_vs_pytorch_v$V $(ratio "$(rate "ours$V")" "$(rate "torch$V")") ratio"
    echo "figure memory_vs_pytorch_v$V $(ratio "$(peak_mb "ours$V")" "$(peak_mb "torch$V")") ratio"
  done
fi
[ -z "${LLMC_TRAINER:-}" ] ||
  echo "figure train_vs_llmc_v512 $(ratio "$(rate ours512)" "$(rate llmc512)") ratio"
echo "figure train_share_of_sgemm_v512 $(median <"$work/ours512.share") share"
if [ -x "$build/tests/bench_tokenizer" ]; then
  "$build/tests/bench_tokenizer" | grep '^figure' || echo "SKIP: bench_tokenizer had no figure"
fi
