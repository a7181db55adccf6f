#!/bin/sh
# Trains with real processes and treats them badly: stopped, killed, starved of disk, fed nonsense.
# Whatever happens, going on must give the same bits as not having stopped, and every refusal must
# say why and end with its exit code.
#
#   tests/e2e/train.sh [BUILD]          (default build/release; about a minute)
#
# Prints TAP, as tests/run.sh wants it.
set -u
node=${1:-build/release}/caravan-node
case $node in /*) ;; *) node=$PWD/$node ;; esac
[ -x "$node" ] || { echo "train.sh: there is no '$node'; run make first" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/caravan-train.XXXXXX")
cd "$work" || exit 1
mounted=
cleanup() {
  [ -z "$mounted" ] || umount "$work/small" 2>/dev/null
  cd / && rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
failures=0
number=0

good() {
  number=$((number + 1))
  echo "ok $number - $*"
}
bad() {
  number=$((number + 1))
  echo "not ok $number - $*"
  failures=$((failures + 1))
  tail -8 log 2>/dev/null | sed 's/^/#   /'
}
skip() {
  number=$((number + 1))
  echo "ok $number - $1 # SKIP $2"
}

# run_file NAME FOLDER [MORE…]: a run of 40 small steps
run_file() {
  name=$1 folder=$2
  shift 2
  cat >"$name.yaml" <<END
name: e2e
model: {preset: tiny, layers: 2, channels: 64, heads: 2, vocabulary: 320}
data: {corpus: corpus, holdout: 4}
sequence: 64
batch: {sequences: 8, micro: 4}
tokens_total: 20480
checkpoint: {folder: $folder, every: 4k, keep: 2}
validation: {every: 5k}
machine: {threads: 2}
END
  for line; do echo "$line" >>"$name.yaml"; done
}

# expect CODE WORDS WHAT -- COMMAND…: the exit code, and words that the output must hold
expect() {
  code=$1 words=$2 what=$3
  shift 4
  "$@" >log 2>&1
  got=$?
  if [ $got -ne "$code" ]; then
    bad "$what: exit code $got, not $code"
  elif ! grep -qF -- "$words" log; then
    bad "$what: nothing said of '$words'"
  else
    good "$what: $(grep -F -- "$words" log | head -1 | cut -c1-150)"
  fi
}

digests() { (cd "$1/step-40" && cksum model.safetensors optimizer.safetensors caravan.json); }
losses() {
  grep -e '"kind":"step"' -e '"kind":"validation"' "$1/metrics.jsonl" | sed 's/,"rate".*//'
}

same_as_whole() {
  if [ "$(digests "$1")" = "$(digests whole)" ] && [ "$(losses "$1")" = "$(losses whole)" ]; then
    good "$2: the same bits as without"
  else
    bad "$2: other bits than without"
  fi
}

awk 'BEGIN { x = 7; for (i = 0; i < 9000; i++) {
  x = (x * 1103 + 12345) % 65536
  printf "%s%s", substr("the cat sat on a red mat by old lamp", x % 30 + 1, x % 7 + 1),
    i % 11 ? " " : ".\n" } }' >text.txt
expect 0 "" "tokenize" -- "$node" tokenize --tokenizer byte --out corpus text.txt

run_file whole whole
expect 0 "done       40 steps" "an undisturbed run" -- "$node" train whole.yaml
cp log whole.log

# Ctrl-C, then go on.
run_file stopped stopped
"$node" train stopped.yaml >log 2>&1 &
process=$!
patience=100
while [ ! -s stopped/curve.svg ] && [ $patience -gt 0 ]; do
  patience=$((patience - 1))
  sleep 0.05
done
kill -INT $process
wait $process
code=$?
if [ $code -eq 130 ] && grep -q "stopped at step .* with a checkpoint" log; then
  good "Ctrl-C: $(grep -o 'stopped at step.*' log)"
else
  bad "Ctrl-C: exit code $code"
fi
expect 0 "start      from stopped/step-" "going on after Ctrl-C" -- "$node" train stopped.yaml
same_as_whole stopped "Ctrl-C and going on"

# Killed again and again, wherever it happens to be; writing included.
run_file killed killed
kills=0
for pause in 0.5 0.6 0.7 0.8 0.9 1.0 1.2 1.5 2 3 4 60; do
  "$node" train killed.yaml >log 2>&1 &
  process=$!
  (sleep "$pause"; kill -KILL $process) 2>/dev/null &
  killer=$!
  if wait $process 2>/dev/null; then
    kill $killer 2>/dev/null
    break
  fi
  kills=$((kills + 1))
done 2>/dev/null
same_as_whole killed "killed $kills times and going on"
if [ -n "$(find killed -name '*partial*')" ]; then
  bad "a killed run left partial folders"
else
  good "a killed run leaves no partial folders"
fi

# A run file that makes no sense.
run_file unknown unknown "optimizer: {learning_rate: 1}"
expect 65 'unknown.yaml:10: unknown key "optimizer.learning_rate"' "an unknown key" -- \
  "$node" train unknown.yaml
run_file negative negative "optimizer: {lr: -0.001}"
expect 65 'negative.yaml:10: key "optimizer.lr": expected a number above 0' "a negative number" -- \
  "$node" train negative.yaml
run_file vocabulary vocabulary
sed -i 's/vocabulary: 320/vocabulary: 100/' vocabulary.yaml
expect 65 "the model has 100 rows" "a vocabulary that does not match" -- \
  "$node" train vocabulary.yaml
run_file other whole "seed: 2"
expect 65 "seed was 1 and is 2" "another run in the same folder" -- "$node" train other.yaml
run_file big big
sed -i 's/^model.*/model: {preset: pythia-12b}/; s/^machine.*/machine: {memory: 3G}/' big.yaml
expect 71 "fits" "a model that does not fit" -- "$node" train big.yaml
expect 66 "nowhere.yaml" "a run file that is not there" -- "$node" train nowhere.yaml
if [ -e unknown ] || [ -e negative ] || [ -e vocabulary ] || [ -e big ]; then
  bad "a refused run left a folder"
else
  good "a refused run leaves no folder"
fi

# Flip one bit, cut one file.
flip() {
  byte=$(od -An -tu1 -j"$2" -N1 "$1" | tr -d ' ')
  printf '%b' "\\0$(printf %o $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
run_file flipped flipped
"$node" train flipped.yaml >log 2>&1
flip flipped/step-40/model.safetensors 100000
expect 0 "step-40 is damaged" "a flipped bit in the newest checkpoint" -- "$node" train flipped.yaml
same_as_whole flipped "a flipped bit and going back"
for step in flipped/step-*; do
  case $step in *damaged) ;; *) flip "$step/optimizer.safetensors" 100000 ;; esac
done
expect 76 "no whole checkpoint is left" "a flipped bit in every checkpoint" -- \
  "$node" train flipped.yaml
cp -r corpus cut
set -- cut/*.tokens
shard=$1
truncate -s -100 "$shard"
run_file cut cut-run
sed -i 's/corpus: corpus/corpus: cut/' cut.yaml
expect 65 "$shard" "a truncated shard" -- "$node" train cut.yaml

# A disk that is too small, then large enough.
mkdir small
if mount -t tmpfs -o size=2600k tmpfs small 2>/dev/null; then
  mounted=yes
  run_file full small/run
  expect 74 "make room and run the same command again" "a full disk" -- "$node" train full.yaml
  expect 0 "" "the checkpoint before it" -- "$node" verify small/run/step-8
  dd if=/dev/zero of=small/filler bs=1k 2>/dev/null
  expect 74 "make room and run the same command again" "a disk that is full to the last byte" -- \
    "$node" train full.yaml
  rm small/filler
  mount -o remount,size=64m small
  expect 0 "done       40 steps" "with room again" -- "$node" train full.yaml
  same_as_whole small/run "a full disk and going on"
else
  skip "a full disk" "mounting a small tmpfs needs root"
fi

echo "1..$number"
[ $failures -eq 0 ]
