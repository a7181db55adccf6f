#include "node/data/mixture.h"

#include <stdbool.h>
#include <string.h>

#include "proto/base/claim.h"
#include "proto/base/prng.h"

__extension__ typedef unsigned __int128 wide;

/* Choosing slices. A binary tree has the slices as leaves. At a fork whose sides weigh a and w - a,
 * of the first n samples that come to it
 *
 *     L(n) = floor((2na + w - 1) / 2w)  =  na/w rounded to the nearest, ties down
 *
 * go left and n - L(n) right. As a <= w, L grows by 0 or 1 with each sample, so sample n (from 0)
 * goes left exactly when L(n + 1) > L(n), and then it is the left side's L(n)-th; otherwise the
 * right side's (n - L(n))-th. Going down from the root thus gives a sample's slice and, exactly,
 * how many samples before it fell to that slice: nothing is walked or stored.
 *
 * How far counts stray. A fork adds at most 1/2 to the error it inherits, scaled by the fraction f
 * of the side taken, so a leaf's error is at most 1/2 (1 + f1 + f1 f2 + …), f1 being the leaf's
 * fraction of its parent, f2 the parent's of the grandparent, and so on. The tree is Huffman's. A
 * fork is joined only with something no lighter than either of its sides (which were the two
 * lightest when it was made). So with the leaf's weight 1, the ancestors weigh at least 1, 2, 3, 5,
 * 8, …, and the products f1, f1 f2, … at most 1/1, 1/2, 1/3, 1/5, …: with the leading 1 the
 * reciprocals of the Fibonacci numbers, whose sum is 3.36. Hence less than 1.68 whatever the
 * weights, and the tree is at most 88 forks deep for sums below 2^60 (and never over 63). */
static uint64_t left_of(const struct mixture_fork *f, uint64_t n) {
  uint64_t whole = n / f->weight;
  uint64_t rest = n % f->weight;
  wide part = ((wide)rest * f->left_weight * 2 + f->weight - 1) / ((wide)f->weight * 2);
  return whole * f->left_weight + (uint64_t)part;
}

/* Take the lightest of the open nodes out; of equal ones the one that was put in first, so that
 * every machine builds the same tree. */
static size_t take_lightest(const uint64_t *weights, const int16_t *nodes, size_t count) {
  size_t best = count;
  for (size_t i = 0; i < count; i++)
    if (nodes[i] != INT16_MAX && (best == count || weights[i] < weights[best]))
      best = i;
  CLAIM(best < count);
  return best;
}

static void build_tree(struct mixture *m) {
  uint64_t weights[2 * SLICE_COUNT_MAX];
  int16_t nodes[2 * SLICE_COUNT_MAX]; /* INT16_MAX: taken */
  size_t count = 0;
  for (size_t i = 0; i < m->slice_count; i++) {
    if (!m->slices[i].weight)
      continue;
    weights[count] = m->slices[i].weight;
    nodes[count++] = (int16_t)(-1 - (int)i);
  }
  size_t fork_count = count - 1;
  for (size_t i = 0; i < fork_count; i++) {
    size_t a = take_lightest(weights, nodes, count);
    int16_t left = nodes[a];
    nodes[a] = INT16_MAX;
    size_t b = take_lightest(weights, nodes, count);
    m->forks[i] = (struct mixture_fork){weights[a] + weights[b], weights[a], left, nodes[b]};
    nodes[b] = INT16_MAX;
    weights[count] = weights[a] + weights[b];
    nodes[count++] = (int16_t)i;
  }
  m->root = nodes[count - 1];
}

/* Held-out samples. A slice is cut into runs of training samples with blocks of held-out ones
 * between them: run 0, block 0, run 1, …, run B. Inside a run or block samples follow each other T
 * apart; the last one's final target adds one token, and the next run or block begins after it. So
 * runs and blocks share nothing, and R training and H held-out samples with B blocks take
 * (R + H) T + 2B + 1 tokens. Blocks and runs differ by at most one sample in length. */
static uint64_t block_count(const struct mixture_slice *s) {
  uint64_t blocks = s->holdout_count / MIXTURE_BLOCK_SAMPLES;
  blocks += s->holdout_count % MIXTURE_BLOCK_SAMPLES != 0;
  return blocks < MIXTURE_BLOCK_COUNT_MAX ? blocks : MIXTURE_BLOCK_COUNT_MAX;
}

/* count things in parts, the first count % parts of which have one more: how many in [0, part). */
static uint64_t before_part(uint64_t count, uint64_t parts, uint64_t part) {
  uint64_t extra = count % parts;
  return part * (count / parts) + (part < extra ? part : extra);
}

/* The part that holds thing index. */
static uint64_t part_of(uint64_t count, uint64_t parts, uint64_t index) {
  uint64_t size = count / parts;
  uint64_t extra = count % parts;
  if (index < extra * (size + 1))
    return index / (size + 1);
  return extra + (index - extra * (size + 1)) / size;
}

static enum status count_training(struct mixture *m, size_t i, struct why *why) {
  const struct mixture_slice *s = &m->slices[i];
  if (s->token_count > TOKENS_TOTAL_MAX)
    return why_say(why, STATUS_RANGE, "slice '%s' has %llu tokens; at most %llu are possible",
                   s->name, (unsigned long long)s->token_count,
                   (unsigned long long)TOKENS_TOTAL_MAX);
  uint64_t overhead = 2 * block_count(s) + 1;
  if (s->holdout_count <= s->token_count / m->T) {
    uint64_t held = s->holdout_count * m->T + overhead;
    m->train_count[i] = s->token_count > held ? (s->token_count - held) / m->T : 0;
    if (held <= s->token_count && (m->train_count[i] || !s->weight))
      return STATUS_OK;
  }
  return why_say(
      why, STATUS_RANGE,
      "slice '%s' has %llu tokens, too few for %llu held-out samples%s of %llu; hold out "
      "fewer, take shorter sequences, or add text",
      s->name, (unsigned long long)s->token_count, (unsigned long long)s->holdout_count,
      s->weight ? " and one to train on" : "", (unsigned long long)m->T);
}

enum status mixture_init(struct mixture *m, uint64_t seed, uint64_t T,
                         const struct mixture_slice *slices, size_t slice_count, struct why *why) {
  if (slice_count < 1 || slice_count > SLICE_COUNT_MAX)
    return why_say(why, STATUS_RANGE, "a mixture has 1 to %d slices, not %zu", SLICE_COUNT_MAX,
                   slice_count);
  if (T < 1 || T > MIXTURE_T_MAX)
    return why_say(why, STATUS_RANGE, "a sample has 1 to %llu tokens, not %llu",
                   (unsigned long long)MIXTURE_T_MAX, (unsigned long long)T);
  struct mixture made = {.seed = seed, .T = T, .slice_count = slice_count};
  memcpy(made.slices, slices, slice_count * sizeof *slices);
  for (size_t i = 0; i < slice_count; i++) {
    made.slices[i].name[NAME_BYTES_MAX - 1] = 0;
    if (slices[i].weight > MIXTURE_WEIGHT_SUM_MAX - made.weight_sum)
      return why_say(why, STATUS_RANGE, "the slices' weights sum to more than %llu",
                     (unsigned long long)MIXTURE_WEIGHT_SUM_MAX);
    made.weight_sum += slices[i].weight;
    TRY(count_training(&made, i, why));
  }
  if (!made.weight_sum)
    return why_say(why, STATUS_RANGE, "every slice of the mixture has weight 0");
  build_tree(&made);
  *m = made;
  return STATUS_OK;
}

/* A permutation of [0, count): a balanced Feistel network on the next even number of bits (Luby and
 * Rackoff 1988), walked until it lands inside (Black and Rogaway 2002, "Ciphers with arbitrary
 * finite domains"). A walk ends because the network is a permutation: it comes back to the index,
 * which is inside, at the latest. Fewer than four steps on average, as the network is less than
 * four times as large; never smaller than 64, for at 2 or 4 there would be few permutations. */
static uint64_t permute(uint64_t key, uint64_t count, uint64_t index) {
  enum { ROUNDS = 8, HALF_BITS_MIN = 3 };
  int half = HALF_BITS_MIN;
  while ((count - 1) >> half >> half)
    half++;
  uint64_t mask = (UINT64_C(1) << half) - 1;
  do {
    uint64_t left = index >> half;
    uint64_t right = index & mask;
    for (uint64_t round = 0; round < ROUNDS; round++) {
      uint64_t mixed = left ^ (prng_mix(prng_mix(key + round) + right) & mask);
      left = right;
      right = mixed;
    }
    index = left << half | right;
  } while (index >= count);
  return index;
}

/* Each epoch of each slice has its own key: a word of the seed's shuffle stream, mixed with both.
 */
static uint64_t shuffle_key(const struct mixture *m, size_t slice, uint64_t epoch) {
  struct prng stream = prng_seeded(m->seed, PRNG_SHUFFLE);
  uint64_t key = prng_mix(prng_u64(&stream) + slice);
  return prng_mix(prng_mix(key ^ prng_u64(&stream)) + epoch);
}

struct mixture_place mixture_sample(const struct mixture *m, uint64_t index) {
  int16_t node = m->root;
  uint64_t n = index;
  while (node >= 0) {
    const struct mixture_fork *f = &m->forks[node];
    uint64_t left = left_of(f, n);
    bool goes_left = left_of(f, n + 1) > left;
    node = goes_left ? f->left : f->right;
    n = goes_left ? left : n - left;
  }
  struct mixture_place p = {.slice = (uint32_t)(-1 - node)};
  const struct mixture_slice *s = &m->slices[p.slice];
  uint64_t trained = m->train_count[p.slice];
  p.epoch = n / trained;
  p.index = permute(shuffle_key(m, p.slice, p.epoch), trained, n % trained);
  uint64_t blocks = block_count(s);
  uint64_t run = part_of(trained, blocks + 1, p.index);
  uint64_t held = blocks ? before_part(s->holdout_count, blocks, run) : 0;
  p.token_begin = (p.index + held) * m->T + 2 * run;
  return p;
}

uint64_t mixture_holdout(const struct mixture *m, size_t slice, uint64_t j) {
  CLAIM(slice < m->slice_count);
  const struct mixture_slice *s = &m->slices[slice];
  CLAIM(j < s->holdout_count);
  uint64_t blocks = block_count(s);
  uint64_t block = part_of(s->holdout_count, blocks, j);
  uint64_t trained = before_part(m->train_count[slice], blocks + 1, block + 1);
  return (j + trained) * m->T + 2 * block + 1;
}

void mixture_counts(const struct mixture *m, uint64_t count, uint64_t *counts) {
  uint64_t arrived[SLICE_COUNT_MAX] = {0}; /* by fork; parents come after their children */
  memset(counts, 0, m->slice_count * sizeof *counts);
  if (m->root < 0) {
    counts[-1 - m->root] = count;
    return;
  }
  arrived[m->root] = count;
  for (int i = m->root; i >= 0; i--) {
    const struct mixture_fork *f = &m->forks[i];
    uint64_t left = left_of(f, arrived[i]);
    if (f->left >= 0)
      arrived[f->left] = left;
    else
      counts[-1 - f->left] = left;
    if (f->right >= 0)
      arrived[f->right] = arrived[i] - left;
    else
      counts[-1 - f->right] = arrived[i] - left;
  }
}
