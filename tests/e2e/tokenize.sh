#!/bin/bash
# Tokenizing with the real program: threads, kill -9 and resume, Ctrl-C, broken records, compressed
# input, other formats, damage, a full disk. The corpora must be the same byte for byte.
#   tests/e2e/tokenize.sh [BUILD]      (default build/release)
# Prints TAP, as tests/run.sh wants it.
set -u
node=$(realpath "${1:-build/release}/caravan-node")
work=$(mktemp -d)
trap 'umount "$work/small" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0
number=0
pass() { number=$((number + 1)); echo "ok $number - $1"; }
fail() { number=$((number + 1)); echo "not ok $number - $1"; failures=$((failures + 1)); }
check() { if "${@:2}" >>log 2>&1; then pass "$1"; else fail "$1"; tail -5 log; fi; }
exits() { # exits CODE TEXT COMMAND…: ends with that code and says so
  "${@:3}" >out 2>&1
  local code=$?
  if [ "$code" = "$1" ] && grep -q -- "$2" out; then return 0; fi
  echo "code $code:"
  cat out
  return 1
}

# 40,000 records as RedPajama has them, some empty, in a few shapes, and with escapes. No Python.
awk 'BEGIN { srand(7); for (i = 0; i < 40000; i++) {
  text = ""; n = i % 101 == 0 ? 0 : int(rand() * 60)
  for (j = 0; j < n; j++) text = text sprintf("%s w%d", j % 7 ? "" : "\\n\\u00e9\\ud83d\\ude00", rand() * 5000)
  if (i % 3 == 0) print "{\"meta\":{\"text\":\"no\",\"n\":[1,2.5e3,null]},\"text\":\"" text "\"}"
  else if (i % 3 == 1) print "{\"text\":\"" text "\",\"meta\":{\"source\":\"x\"}}"
  else print "{\"pred_label\":\"y\",\"wiki_prob\":0.5,\"text\":\"" text "\",\"source\":\"cc/1/line" i "\"}"
}}' >a.jsonl
head -c 2000000 a.jsonl | tr -d '"{}' >plain.txt
{ head -20000 a.jsonl | zstd -q; tail -n +20001 a.jsonl | zstd -q; } >b.jsonl.zst
options=(--tokenizer byte --shard-size 1Mi --durable-every 64Ki)
tokenize() { "$node" tokenize "${options[@]}" "$@"; }
# In the background; not through a function, whose process would be a shell's.
begin() { "$node" tokenize "${options[@]}" "$@" >>log 2>&1 & pid=$!; }
inputs=(arxiv=a.jsonl text=plain.txt c4=b.jsonl.zst)

tokenize --out whole --threads 1 "${inputs[@]}" >log 2>&1 || { cat log; exit 1; }
check "every digest of a fresh corpus is right" "$node" verify whole
for threads in 2 7; do
  tokenize --out "t$threads" --threads $threads "${inputs[@]}" >>log 2>&1
  check "$threads threads give the same bytes as one" diff -r whole "t$threads"
done
cmp -s whole/arxiv-00000.tokens whole/c4-00000.tokens
tokens() { tail -q -c +129 whole/"$1"-*.tokens | cksum; }
check "zstd in two frames gives the same tokens" [ "$(tokens arxiv)" = "$(tokens c4)" ]
"$node" detokenize --corpus whole --slice text --document 0 >back.txt 2>>log
check "the text comes back" cmp back.txt plain.txt
check "a complete corpus is left alone" tokenize --out whole "${inputs[@]}"
# As a kill between the last manifest and the clean-up leaves it.
touch whole/unfinished.json whole/.lock
tokenize --out whole "${inputs[@]}" >>log 2>&1
check "but for what a kill at the very end left" [ ! -e whole/unfinished.json -a ! -e whole/.lock ]
check "another corpus there is refused" exits 73 "another corpus" tokenize --out whole a.jsonl

# A while before try I is cut short: the first ones early, so that a fast machine is hit as well.
moment() {
  if [ "$1" -le 6 ]; then sleep "0.0$((3 + RANDOM % 4))"; else sleep "0.$((RANDOM % 3))$((RANDOM % 10))"; fi
}
# Killed at random moments until it is done.
kills=0
for i in $(seq 400); do
  begin --out killed --threads 2 "${inputs[@]}"
  moment "$i"
  if kill -9 $pid 2>/dev/null; then kills=$((kills + 1)); fi
  wait $pid 2>/dev/null && break
done
[ $kills -ge 2 ] || fail "only $kills kills hit a running process: nothing was tested"
check "killed $kills times and resumed: the same bytes" diff -r whole killed

# A polite stop. (Not SIGINT: shells start background commands with it ignored.)
stopped=0
for i in $(seq 100); do
  begin --out half --threads 1 "${inputs[@]}"
  moment "$i"
  kill -TERM $pid 2>/dev/null
  wait $pid
  case $? in
    130) stopped=$((stopped + 1)) ;;
    0) break ;;
  esac
done
check "SIGTERM ends with 130, $stopped times" [ $stopped -ge 1 ]
check "stopped and resumed: the same bytes" diff -r whole half

# Broken records.
{ head -5 a.jsonl; echo '{"text": "broken'; sed -n 6,10p a.jsonl; echo '[1]'; } >bad.jsonl
head -10 a.jsonl >good.jsonl
check "a broken record stops the run with file and line" \
  exits 65 "bad.jsonl:6: " tokenize --out bad --slice x bad.jsonl
check "the same command with --skip-bad counts it" \
  exits 0 "skipped    2 " tokenize --out bad --skip-bad --slice x bad.jsonl
tokenize --out good --slice x good.jsonl >>log 2>&1
check "and leaves out nothing else" cmp good/x-00000.tokens bad/x-00000.tokens

# Input that is not what it should be.
head -c 5000 b.jsonl.zst >cut.jsonl.zst
check "cut zstd data is refused" exits 65 "inside a zstd frame" tokenize --out z cut.jsonl.zst
gzip -c good.jsonl >good.jsonl.gz
check "gzip is refused by name" exits 69 "gunzip" tokenize --out z2 good.jsonl.gz
check "a missing file is named" exits 66 "nothere.jsonl" tokenize --out z3 nothere.jsonl
check "a directory is refused, and its files asked for" exits 64 "name the files in it" \
  tokenize --out z4 .
mkfifo pipe
"$node" detokenize --corpus whole --slice arxiv >pipe 2>>log & pid=$!
exec 3<pipe
head -c 1 <&3 >/dev/null
kill -TERM $pid
cat <&3 >/dev/null
exec 3<&-
wait $pid
check "text cut short by a signal is no success" [ $? = 130 ]
check "a document and a range exclude each other" exits 64 "no --begin" \
  "$node" detokenize --corpus whole --slice text --document 0 --begin 5
check "ids beside a corpus are not passed over" exits 64 "exclude each other" \
  "$node" detokenize --corpus whole --slice text 5
if [ -w /dev/full ]; then
  "$node" verify whole >/dev/full 2>>log
  check "a report that cannot be written is no success" [ $? = 74 ]
fi
check "'help COMMAND' is its page" exits 0 "usage: caravan-node verify PATH" "$node" help verify
check "a slip is forgiven" exits 64 "did you mean 'tokenize'?$" "$node" tokenise

# Damage.
cp -r whole damaged
printf 'X' | dd of=damaged/arxiv-00001.tokens bs=1 seek=5001 conv=notrunc 2>/dev/null
check "a flipped byte is found" exits 76 "arxiv-00001.tokens was altered" "$node" verify damaged
truncate -s -1 damaged/arxiv-00001.tokens
check "a truncated shard is refused" exits 65 "cut short" "$node" verify damaged

# The Megatron pair.
tokenize --format megatron --out mega "${inputs[@]}" >>log 2>&1
check "a Megatron corpus is sound" "$node" verify mega mega/arxiv
check "and holds the same tokens" cmp <(tail -q -c +129 whole/arxiv-*.tokens) mega/arxiv.bin
for i in $(seq 100); do
  begin --format megatron --out mkilled "${inputs[@]}"
  moment "$i"
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null && break
done
check "killed and resumed: the same pair" diff -r mega mkilled

# A full disk.
mkdir small
if mount -t tmpfs -o size=6m tmpfs small 2>/dev/null; then
  dd if=/dev/zero of=small/ballast bs=1M count=4 2>/dev/null
  check "a full disk is said" exits 74 "No space left" tokenize --out small/out "${inputs[@]}"
  rm small/ballast
  mount -o remount,size=40m small
  check "with room again it goes on" tokenize --out small/out "${inputs[@]}"
  check "to the same bytes" diff -r whole small/out
else
  echo "not ok $((number + 1)) # SKIP a full disk: mounting a tmpfs needs root"
fi
[ $failures = 0 ] || { echo "tokenize: $failures failed"; exit 1; }
echo "tokenize: all passed"
