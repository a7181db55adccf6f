#!/bin/sh
# demo.sh [BUILD]: the main job on real text, in under five minutes on two cores: a small model
# learns English byte by byte, is killed in the middle, goes on from its checkpoint, and writes.
#
# BUILD is where make put the programs (build/release). Everything it makes is in build/demo.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release}
node=$build/caravan-node
out=build/demo
tokens=500k
[ -x "$node" ] || { echo "demo: there is no '$node'; run make first" >&2; exit 66; }
if [ -t 1 ] && [ "${TERM:-dumb}" != dumb ] && [ -z "${NO_COLOR:-}" ]; then
  strong=$(printf '\033[1;36m') calm=$(printf '\033[0m')
else
  strong='' calm=''
fi
began=$(date +%s)
process=''
trap '[ -z "$process" ] || kill "$process" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
say() { printf '\n%s%s%s\n' "$strong" "$*" "$calm"; }

rm -rf "$out"
mkdir -p "$out"

say "1  Real text: the King James Bible, from a package of the distribution"
deploy/english-text.sh "$out/text"
awk -v out="$out" '/^The book of the generation of Jesus Christ/ { new = 1 }
  { print > (out (new ? "/new.txt" : "/old.txt")) }' "$out/text"
rm "$out/text"
wc -c "$out"/*.txt | sed 's/^/   /'

say "2  Text to tokens: one byte, one token; two slices"
"$node" tokenize --tokenizer byte --out "$out/corpus" \
  "old-testament=$out/old.txt" "new-testament=$out/new.txt"

say "3  Training, killed in the middle without warning"
cat >"$out/demo.yaml" <<END
name: demo
model: {preset: tiny}
data:
  corpus: $out/corpus
  slices: {old-testament: 0.75, new-testament: 0.25}
batch: {sequences: 4}
optimizer: {warmup: 5%}
tokens_total: $tokens
validation: {every: 50k}
checkpoint: {folder: $out/run, every: 50k, keep: 2}
END
sed 's/^/   /' "$out/demo.yaml"
echo
"$node" train "$out/demo.yaml" &
process=$!
# A step is 1024 tokens: 489 in all, a checkpoint every 49. The fourth is well on the way.
while kill -0 "$process" 2>/dev/null && [ ! -e "$out/run/step-196" ]; do
  sleep 0.2
done
sleep 2
kill -KILL "$process" 2>/dev/null || true
wait "$process" 2>/dev/null || true
process=''
say "   killed. The same command again:"
"$node" train "$out/demo.yaml"

say "4  What was learnt: loss on text it has never seen, in nats per byte (guessing: 5.5)"
grep '"kind":"validation"' "$out/run/metrics.jsonl" | tail -2 |
  sed 's/.*"slice":"\([^"]*\)","loss":\([0-9]*\.[0-9]\{0,3\}\).*/   \1   \2/'

say "5  What it writes"
"$node" sample --checkpoint "$out/run/step-489" --prompt 'And the Lord said unto ' --tokens 300 \
  --temperature 0.7 --seed 1 | fold -s -w 90 | sed 's/^/   /'

say "6  The curve: $out/run/curve.svg"
"$node" curve "$out/run/metrics.jsonl" --out "$out/run/curve.svg" \
  --title "Caravan's tiny model reading the King James Bible"

echo
grep '"kind":"validation"' "$out/run/metrics.jsonl" | tail -2 | awk -F'[:,]' '
  { for (i = 1; i < NF; i++) if ($i == "\"loss\"" && $(i + 1) > most) most = $(i + 1) }
  END {
    printf "figure demo_loss %.3f nats/byte\n", most
    if (most >= 2.0) {
      print "demo: the loss is not below 2.0 nats per byte" > "/dev/stderr"
      exit 1
    }
  }'
echo "figure demo_time $(($(date +%s) - began)) s"
