/* checkpoint: a model on disk that the rest of the world opens, and that a torn disk cannot spoil.
 *
 *   TRY(checkpoint_write(dir, transformer, &state, tokenizer, &why));
 *   TRY(checkpoint_inspect(dir, &info, &why));                    // arch and state, nothing loaded
 *   TRY(checkpoint_read(dir, transformer, &state, &why));
 *
 * A checkpoint is a directory:
 *   config.json            Hugging Face's for GPTNeoXForCausalLM or LlamaForCausalLM
 *   model.safetensors      f32 tensors under Hugging Face's names (or model-0000i-of-0000n and
 *                          model.safetensors.index.json past 5 GB)
 *   generation_config.json, tokenizer.json, tokenizer_config.json     when there is a tokenizer
 *   optimizer.safetensors  moments, when asked for: "<name>.exp_avg", "<name>.exp_avg_sq"
 *   caravan.json           the manifest, written last: every file's bytes and BLAKE2b digest, every
 *                          tensor's digest, the training state
 * Written to DIR.partial-PID, every file and the directory fsynced, then renamed to DIR. A
 * directory without a manifest is somebody else's model: it is read, after checking what can be
 * checked. An altered or torn one is refused with the tensor's name. */
#ifndef CARAVAN_CHECKPOINT_H
#define CARAVAN_CHECKPOINT_H

#include "node/data/tokenizer.h"
#include "node/model/transformer.h"
#include "proto/base/digest.h"
#include "proto/base/status.h"

/* Where training stood. Everything exact resume needs beside weights and moments. */
struct checkpoint_state {
  uint64_t step;           /* optimizer steps done */
  uint64_t tokens;         /* trained so far */
  uint64_t samples;        /* the next sample's index in the mixture */
  struct digest run;       /* of the run file's meaning (runfile.h); zeros when imported */
  struct digest tokenizer; /* zeros when unknown */
};

struct checkpoint_info {
  struct arch arch;
  struct checkpoint_state state;
  bool has_optimizer;
  bool has_manifest;
  bool has_tokenizer;  /* a tokenizer.json lies beside it */
  bool byte_tokenizer; /* that tokenizer.json is the built-in "byte" tokenizer: open it so */
};

enum { CHECKPOINT_FILE_BYTES_MAX = 64 << 20 };          /* of tokenizer.json and the like */
#define CHECKPOINT_SHARD_BYTES_MAX UINT64_C(5000000000) /* as transformers cuts them */

/* EXISTS: dir is there already and is not to be replaced. MISMATCH: the tokenizer has more ids than
 * the model has rows. DISK: nothing is left behind and nothing
 * that was there is lost. tokenizer may be NULL. with_optimizer: moments too. */
CHECKED enum status checkpoint_write(const char *dir, struct transformer *t,
                                     const struct checkpoint_state *state,
                                     const struct tokenizer *tokenizer, bool with_optimizer,
                                     struct why *why);
/* The same with model files of at most shard_bytes_max of values, unless one tensor is larger. */
CHECKED enum status checkpoint_write_shards(const char *dir, struct transformer *t,
                                            const struct checkpoint_state *state,
                                            const struct tokenizer *tokenizer, bool with_optimizer,
                                            uint64_t shard_bytes_max, struct why *why);
/* MISSING, BAD, SHORT, FORGED, UNSUPPORTED (an architecture or a setting that we do not compute,
 * named). */
CHECKED enum status checkpoint_inspect(const char *dir, struct checkpoint_info *out,
                                       struct why *why);
/* Fill weights (and moments, when with_optimizer). Reads safetensors in F32, F16, BF16; also
 * sharded. FORGED or SHORT: the tensor's name. MISMATCH: a tensor missing, unexpected, or of
 * another shape; config.json of another architecture than the transformer's, by field. RANGE: a
 * value that is not finite. Buffers that old transformers saved (attention.bias, masked_bias,
 * rotary_emb.inv_freq) are ignored; so is a tied output layer that equals the embedding. On failure
 * the transformer's contents are undefined. */
CHECKED enum status checkpoint_read(const char *dir, struct transformer *t,
                                    struct checkpoint_state *state, bool with_optimizer,
                                    struct why *why);

/* Compare every file and every tensor with the manifest, weights and moments; nothing is kept. The
 * statuses of checkpoint_read; MISSING also when there is no manifest. */
CHECKED enum status checkpoint_verify(const char *dir, struct why *why);

#endif
