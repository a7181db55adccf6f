/* The writing half of checkpoint.h: everything goes to a folder aside, the manifest last, and one
 * rename makes it the checkpoint. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/checkpoint/checkpoint.h"
#include "node/checkpoint/hfconfig.h"
#include "node/checkpoint/manifest.h"
#include "node/checkpoint/safetensors.h"
#include "proto/base/bytes.h"
#include "proto/base/io_system.h"

enum { PIECE_VALUES = 1 << 16 };

struct writing {
  const char *folder; /* the one aside */
  struct transformer *t;
  struct manifest manifest;
  float values[PIECE_VALUES];
  uint8_t bytes[PIECE_VALUES * 4];
};

/* One tensor that goes to a file: its place in the model and in which array. */
struct piece {
  const struct arch_tensor *tensor;
  enum transformer_array which;
  const char *suffix;
};

/* ---- small files ---- */

static enum status put_small(struct writing *w, const char *name, const void *bytes, size_t count,
                             struct why *why) {
  char path[PATH_BYTES_MAX];
  struct manifest_file f = {.bytes = count, .digest = digest_of(DIGEST_PLAIN, bytes, count)};
  snprintf(f.name, sizeof f.name, "%s", name);
  TRY(io_path_join(w->folder, name, path, why));
  TRY(io_file_write(path, bytes, count, why));
  return manifest_add_file(&w->manifest, &f, why);
}

/* Takes text. */
static enum status put_text(struct writing *w, const char *name, char *text, struct why *why) {
  enum status s = put_small(w, name, text, strlen(text), why);
  free(text);
  return s;
}

static enum status put_tokenizer(struct writing *w, const struct tokenizer *tokenizer,
                                 struct why *why) {
  char *text;
  size_t count;
  int64_t eod = tokenizer_eod(tokenizer);
  TRY(hfconfig_encode_generation(eod, &text, why));
  TRY(put_text(w, "generation_config.json", text, why));
  TRY(hfconfig_encode_tokenizer(transformer_arch(w->t), eod >= 0, &text, why));
  TRY(put_text(w, "tokenizer_config.json", text, why));
  w->manifest.byte_tokenizer = tokenizer_is_byte(tokenizer);
  if (!w->manifest.byte_tokenizer) {
    const void *file = tokenizer_file(tokenizer, &count);
    return put_small(w, "tokenizer.json", file, count, why);
  }
  TRY(hfconfig_encode_byte_tokenizer(&text, why));
  return put_text(w, "tokenizer.json", text, why);
}

static enum status put_config(struct writing *w, const struct tokenizer *tokenizer,
                              struct why *why) {
  char *text;
  TRY(hfconfig_encode(transformer_arch(w->t), tokenizer ? tokenizer_eod(tokenizer) : -1, &text,
                      why));
  TRY(put_text(w, "config.json", text, why));
  return tokenizer ? put_tokenizer(w, tokenizer, why) : STATUS_OK;
}

/* ---- tensor files ---- */

static enum status put_values(struct writing *w, const struct piece *p, struct io_writer *out,
                              struct digester *file, struct digest *digest, struct why *why) {
  struct digester tensor;
  digester_init(&tensor, DIGEST_PLAIN);
  for (int64_t first = 0; first < p->tensor->count; first += PIECE_VALUES) {
    int64_t left = p->tensor->count - first;
    int64_t count = left < PIECE_VALUES ? left : PIECE_VALUES;
    transformer_get(w->t, p->which, p->tensor->offset + first, count, w->values);
    for (int64_t i = 0; i < count; i++)
      bytes_put_f32(w->bytes + 4 * i, w->values[i]);
    digester_add(&tensor, w->bytes, (size_t)count * 4);
    digester_add(file, w->bytes, (size_t)count * 4);
    TRY(io_writer_add(out, w->bytes, (size_t)count * 4, why));
  }
  *digest = digester_end(&tensor);
  return STATUS_OK;
}

static enum status put_tensors(struct writing *w, const struct piece *pieces,
                               const struct safetensors_entry *entries, size_t count,
                               struct io_writer *out, struct digester *file, struct why *why) {
  for (size_t i = 0; i < count; i++) {
    struct digest digest;
    TRY(put_values(w, &pieces[i], out, file, &digest, why));
    TRY(manifest_add_tensor(&w->manifest, entries[i].name, &digest, why));
  }
  return STATUS_OK;
}

static enum status put_file(struct writing *w, const char *name, const struct io_bytes *header,
                            const struct piece *pieces, const struct safetensors_entry *entries,
                            size_t count, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct io_writer *out;
  struct digester file;
  TRY(io_path_join(w->folder, name, path, why));
  TRY(io_writer_open(path, false, &out, why));
  digester_init(&file, DIGEST_PLAIN);
  digester_add(&file, header->at, header->count);
  enum status s = io_writer_add(out, header->at, header->count, why);
  if (s == STATUS_OK)
    s = put_tensors(w, pieces, entries, count, out, &file, why);
  struct manifest_file f = {.bytes = io_writer_bytes(out), .header_bytes = header->count};
  if (s == STATUS_OK)
    s = io_writer_close(&out, why);
  else
    io_writer_abandon(&out);
  TRY(s);
  snprintf(f.name, sizeof f.name, "%s", name);
  f.digest = digester_end(&file);
  f.header = digest_of(DIGEST_PLAIN, header->at, header->count);
  return manifest_add_file(&w->manifest, &f, why);
}

static enum status put_pieces(struct writing *w, const char *name, const struct piece *pieces,
                              size_t count, struct why *why) {
  struct io_bytes header;
  struct safetensors_entry *entries = calloc(count, sizeof *entries);
  if (!entries)
    return why_say(why, STATUS_NOMEM, "no memory for the names of %zu tensors", count);
  for (size_t i = 0; i < count; i++) {
    const struct arch_tensor *tensor = pieces[i].tensor;
    snprintf(entries[i].name, sizeof entries[i].name, "%s%s", tensor->name, pieces[i].suffix);
    entries[i].rank = tensor->rank;
    memcpy(entries[i].shape, tensor->shape, (size_t)tensor->rank * sizeof tensor->shape[0]);
  }
  enum status s = safetensors_encode(entries, count, &header, why);
  if (s == STATUS_OK) {
    s = put_file(w, name, &header, pieces, entries, count, why);
    io_bytes_free(&header);
  }
  free(entries);
  return s;
}

/* ---- the weights, in one file or several ---- */

static size_t shard_end(const struct piece *pieces, size_t begin, size_t count, uint64_t most) {
  uint64_t bytes = 0;
  size_t end = begin;
  while (end < count) {
    bytes += (uint64_t)pieces[end].tensor->count * 4;
    if (bytes > most && end > begin)
      break;
    end++;
  }
  return end;
}

static size_t count_shards(const struct piece *pieces, size_t count, uint64_t most) {
  size_t shards = 0;
  for (size_t at = 0; at < count; at = shard_end(pieces, at, count, most))
    shards++;
  return shards;
}

static enum status put_index(struct writing *w, json_t *map, int64_t param_count, struct why *why) {
  json_t *root = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)param_count * 4,
                           "weight_map", map);
  char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
  json_decref(root);
  if (!text)
    return why_say(why, STATUS_NOMEM, "no memory for the index of the model files");
  return put_text(w, "model.safetensors.index.json", text, why);
}

static enum status put_shards(struct writing *w, const struct piece *pieces, size_t count,
                              uint64_t most, size_t shards, json_t *map, struct why *why) {
  size_t begin = 0;
  for (size_t i = 0; i < shards; i++) {
    char name[NAME_BYTES_MAX];
    size_t end = shard_end(pieces, begin, count, most);
    snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards);
    TRY(put_pieces(w, name, pieces + begin, end - begin, why));
    for (; begin < end; begin++) {
      if (json_object_set_new(map, pieces[begin].tensor->name, json_string(name)))
        return why_say(why, STATUS_NOMEM, "no memory for the index of the model files");
    }
  }
  return put_index(w, map, transformer_params(w->t)->param_count, why);
}

static enum status put_weights(struct writing *w, const struct piece *pieces, size_t count,
                               uint64_t most, struct why *why) {
  size_t shards = count_shards(pieces, count, most);
  if (shards == 1)
    return put_pieces(w, "model.safetensors", pieces, count, why);
  json_t *map = json_object();
  enum status s = map ? put_shards(w, pieces, count, most, shards, map, why)
                      : why_say(why, STATUS_NOMEM, "no memory for the index of the model files");
  json_decref(map);
  return s;
}

/* ---- all of it ---- */

static enum status put_model(struct writing *w, uint64_t most, bool with_optimizer,
                             struct why *why) {
  const struct arch_params *p = transformer_params(w->t);
  struct piece *pieces = calloc(p->count * 2, sizeof *pieces);
  if (!pieces)
    return why_say(why, STATUS_NOMEM, "no memory for a list of %zu tensors", p->count);
  for (size_t i = 0; i < p->count; i++)
    pieces[i] = (struct piece){&p->tensors[i], ARRAY_WEIGHTS, ""};
  enum status s = put_weights(w, pieces, p->count, most, why);
  for (size_t i = 0; i < p->count; i++) {
    pieces[2 * i] = (struct piece){&p->tensors[i], ARRAY_MOMENT_M, ".exp_avg"};
    pieces[2 * i + 1] = (struct piece){&p->tensors[i], ARRAY_MOMENT_V, ".exp_avg_sq"};
  }
  if (s == STATUS_OK && with_optimizer)
    s = put_pieces(w, "optimizer.safetensors", pieces, p->count * 2, why);
  free(pieces);
  return s;
}

static enum status put_manifest(struct writing *w, struct why *why) {
  char path[PATH_BYTES_MAX];
  struct io_bytes text;
  TRY(io_path_join(w->folder, "caravan.json", path, why));
  TRY(manifest_encode(&w->manifest, &text, why));
  enum status s = io_file_write(path, text.at, text.count, why);
  io_bytes_free(&text);
  return s;
}

/* Better to say so now than after writing half of it. The manifest and headers: 1 MB and 1 kB a
 * tensor. */
static enum status check_room(const struct writing *w, bool with_optimizer, struct why *why) {
  const struct arch_params *p = transformer_params(w->t);
  uint64_t need = (uint64_t)p->param_count * 4 * (with_optimizer ? 3 : 1) + 1024 * p->count;
  uint64_t have;
  char needed[32], free_now[32];
  TRY(io_disk_free(w->folder, &have, why));
  if (have >= need)
    return STATUS_OK;
  return why_say(why, STATUS_DISK,
                 "a checkpoint needs %s there and %s are free; make room or write "
                 "it elsewhere",
                 io_human_bytes((double)need, needed), io_human_bytes((double)have, free_now));
}

static enum status put_all(struct writing *w, const struct tokenizer *tokenizer,
                           bool with_optimizer, uint64_t most, struct why *why) {
  TRY(io_folder_make(w->folder, why));
  TRY(check_room(w, with_optimizer, why));
  TRY(put_config(w, tokenizer, why));
  TRY(put_model(w, most, with_optimizer, why));
  TRY(put_manifest(w, why));
  return io_folder_sync(w->folder, why);
}

static enum status write_aside(const char *dir, const char *aside, struct transformer *t,
                               const struct checkpoint_state *state,
                               const struct tokenizer *tokenizer, bool with_optimizer,
                               uint64_t most, struct why *why) {
  struct why ignored;
  TRY(io_folder_remove(aside, why)); /* of a process with this number that was killed */
  struct writing *w = calloc(1, sizeof *w);
  if (!w)
    return why_say(why, STATUS_NOMEM, "no memory to write '%s'", dir);
  w->folder = aside;
  w->t = t;
  w->manifest.state = *state;
  enum status s = put_all(w, tokenizer, with_optimizer, most, why);
  manifest_free(&w->manifest);
  free(w);
  /* Seen again: another process may have written it meanwhile. */
  if (s == STATUS_OK && io_exists(dir))
    s = why_say(why, STATUS_EXISTS, "'%s' appeared meanwhile; it was left as it is", dir);
  if (s == STATUS_OK)
    s = io_rename(aside, dir, why);
  if (s != STATUS_OK && io_folder_remove(aside, &ignored) != STATUS_OK)
    return why_prefix(why, s, "'%s' could not be removed; ", aside);
  return s;
}

enum status checkpoint_write_shards(const char *dir, struct transformer *t,
                                    const struct checkpoint_state *state,
                                    const struct tokenizer *tokenizer, bool with_optimizer,
                                    uint64_t shard_bytes_max, struct why *why) {
  char plain[PATH_BYTES_MAX], aside[PATH_BYTES_MAX];
  size_t length = strlen(dir);
  while (length > 1 && dir[length - 1] == '/')
    length--;
  /* 32: ".partial-" and a process's number */
  if (length == 0 || length + 32 > sizeof plain)
    return why_say(why, STATUS_RANGE, "a checkpoint's path has 1 to %zu bytes, not %zu",
                   sizeof plain - 32, length);
  memcpy(plain, dir, length);
  plain[length] = 0;
  memcpy(aside, dir, length);
  snprintf(aside + length, sizeof aside - length, ".partial-%ld", io_process_id());
  if (io_exists(plain))
    return why_say(why, STATUS_EXISTS, "'%s' is there already; remove it or choose another name",
                   plain);
  if (tokenizer && (int64_t)tokenizer_vocab_count(tokenizer) > transformer_arch(t)->V)
    return why_say(why, STATUS_MISMATCH, "the tokenizer has %u ids; the model has %" PRId64 " rows",
                   tokenizer_vocab_count(tokenizer), transformer_arch(t)->V);
  return write_aside(plain, aside, t, state, tokenizer, with_optimizer, shard_bytes_max, why);
}

enum status checkpoint_write(const char *dir, struct transformer *t,
                             const struct checkpoint_state *state,
                             const struct tokenizer *tokenizer, bool with_optimizer,
                             struct why *why) {
  return checkpoint_write_shards(dir, t, state, tokenizer, with_optimizer,
                                 CHECKPOINT_SHARD_BYTES_MAX, why);
}
