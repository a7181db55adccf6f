#include "node/data/record.h"

#include <stdbool.h>
#include <string.h>

struct cursor {
  const uint8_t *begin;
  const uint8_t *at;
  const uint8_t *end;
  struct why *why;
};

static enum status refuse(const struct cursor *c, const char *expected) {
  size_t column = (size_t)(c->at - c->begin) + 1;
  if (c->at == c->end)
    return why_say(c->why, STATUS_BAD, "byte %zu: the line ends; expected %s", column, expected);
  if (*c->at > 0x20 && *c->at < 0x7f)
    return why_say(c->why, STATUS_BAD, "byte %zu: expected %s, not '%c'", column, expected, *c->at);
  return why_say(c->why, STATUS_BAD, "byte %zu: expected %s, not 0x%02x", column, expected, *c->at);
}

static enum status refuse_in_string(const struct cursor *c) {
  size_t column = (size_t)(c->at - c->begin) + 1;
  if (c->at == c->end)
    return why_say(c->why, STATUS_BAD, "byte %zu: the line ends inside a string", column);
  return why_say(c->why, STATUS_BAD,
                 "byte %zu: 0x%02x inside a string; control characters must be escaped", column,
                 *c->at);
}

static void skip_space(struct cursor *c) {
  while (c->at < c->end && (*c->at == ' ' || *c->at == '\t' || *c->at == '\r' || *c->at == '\n'))
    c->at++;
}

static bool next_is(struct cursor *c, uint8_t wanted) {
  skip_space(c);
  return c->at < c->end && *c->at == wanted;
}

static enum status take(struct cursor *c, uint8_t wanted, const char *expected) {
  if (!next_is(c, wanted))
    return refuse(c, expected);
  c->at++;
  return STATUS_OK;
}

/* Whether eight bytes hold a quote, a backslash or a control character. The three tests are the
 * usual one for a byte below n: (x - n) borrows into the top bit of exactly the first such byte. */
static bool any_special(uint64_t bytes) {
  const uint64_t ones = UINT64_C(0x0101010101010101);
  const uint64_t tops = UINT64_C(0x8080808080808080);
  uint64_t quote = bytes ^ ones * '"';
  uint64_t slash = bytes ^ ones * '\\';
  uint64_t found = ((bytes - ones * 0x20) & ~bytes) | ((quote - ones) & ~quote);
  return ((found | ((slash - ones) & ~slash)) & tops) != 0;
}

static bool is_special(uint8_t byte) {
  return byte < 0x20 || byte == '"' || byte == '\\';
}

/* To the first special byte or the end. */
static void skip_plain(struct cursor *c) {
  uint64_t bytes;
  while (c->end - c->at >= 8) {
    memcpy(&bytes, c->at, 8);
    if (any_special(bytes))
      break;
    c->at += 8;
  }
  while (c->at < c->end && !is_special(*c->at))
    c->at++;
}

/* The same, copying; out has room for what is left of the line. */
static uint8_t *copy_plain(struct cursor *c, uint8_t *out) {
  uint64_t bytes;
  while (c->end - c->at >= 8) {
    memcpy(&bytes, c->at, 8);
    if (any_special(bytes))
      break;
    memcpy(out, &bytes, 8);
    c->at += 8;
    out += 8;
  }
  while (c->at < c->end && !is_special(*c->at))
    *out++ = *c->at++;
  return out;
}

static int hex_value(uint8_t byte) {
  if (byte >= '0' && byte <= '9')
    return byte - '0';
  byte |= 0x20;
  return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* Four hexadecimal digits after \u. */
static enum status take_unit(struct cursor *c, uint32_t *unit) {
  uint32_t value = 0;
  for (int i = 0; i < 4; i++, c->at++) {
    int digit = c->at < c->end ? hex_value(*c->at) : -1;
    if (digit < 0)
      return refuse(c, "a hexadecimal digit");
    value = value << 4 | (uint32_t)digit;
  }
  *unit = value;
  return STATUS_OK;
}

static uint8_t *put_utf8(uint8_t *out, uint32_t code) {
  if (code < 0x80) {
    *out++ = (uint8_t)code;
  } else if (code < 0x800) {
    *out++ = (uint8_t)(0xc0 | code >> 6);
    *out++ = (uint8_t)(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *out++ = (uint8_t)(0xe0 | code >> 12);
    *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    *out++ = (uint8_t)(0x80 | (code & 0x3f));
  } else {
    *out++ = (uint8_t)(0xf0 | code >> 18);
    *out++ = (uint8_t)(0x80 | (code >> 12 & 0x3f));
    *out++ = (uint8_t)(0x80 | (code >> 6 & 0x3f));
    *out++ = (uint8_t)(0x80 | (code & 0x3f));
  }
  return out;
}

/* After "\u". A high surrogate followed by an escaped low one is one character; any other is
 * replaced, and what follows it stands for itself. */
static enum status take_unicode(struct cursor *c, uint32_t *code, uint64_t *surrogates) {
  uint32_t low;
  TRY(take_unit(c, code));
  if (*code < 0xd800 || *code > 0xdfff)
    return STATUS_OK;
  if (*code < 0xdc00 && c->end - c->at >= 2 && c->at[0] == '\\' && c->at[1] == 'u') {
    struct cursor ahead = *c;
    ahead.at += 2;
    TRY(take_unit(&ahead, &low));
    if (low >= 0xdc00 && low <= 0xdfff) {
      *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
      *c = ahead;
      return STATUS_OK;
    }
  }
  *code = 0xfffd;
  (*surrogates)++;
  return STATUS_OK;
}

/* After a backslash. */
static enum status take_escape(struct cursor *c, uint32_t *code, uint64_t *surrogates) {
  static const char names[] = "\"\\/bfnrt";
  static const char values[] = "\"\\/\b\f\n\r\t";
  const char *found = c->at < c->end && *c->at ? strchr(names, *c->at) : NULL;
  if (found) {
    *code = (uint8_t)values[found - names];
    c->at++;
    return STATUS_OK;
  }
  if (c->at == c->end || *c->at != 'u')
    return refuse(c, "one of \"\\/bfnrtu after a backslash");
  c->at++;
  return take_unicode(c, code, surrogates);
}

/* A string from its opening quote on, decoded. */
static enum status take_string(struct cursor *c, uint8_t *out, size_t *out_bytes,
                               uint64_t *surrogates) {
  uint8_t *to = out;
  uint32_t code;
  TRY(take(c, '"', "a string"));
  for (;;) {
    to = copy_plain(c, to);
    if (c->at == c->end || *c->at < 0x20)
      return refuse_in_string(c);
    if (*c->at++ == '"')
      break;
    TRY(take_escape(c, &code, surrogates));
    to = put_utf8(to, code);
  }
  *out_bytes = (size_t)(to - out);
  return STATUS_OK;
}

/* The same, thrown away. */
static enum status skip_string(struct cursor *c) {
  uint64_t surrogates = 0;
  uint32_t code;
  TRY(take(c, '"', "a string"));
  for (;;) {
    skip_plain(c);
    if (c->at == c->end || *c->at < 0x20)
      return refuse_in_string(c);
    if (*c->at++ == '"')
      return STATUS_OK;
    TRY(take_escape(c, &code, &surrogates));
  }
}

static enum status skip_digits(struct cursor *c) {
  if (c->at == c->end || *c->at < '0' || *c->at > '9')
    return refuse(c, "a digit");
  while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
    c->at++;
  return STATUS_OK;
}

static bool skip_word(struct cursor *c, const char *word) {
  size_t count = strlen(word);
  if ((size_t)(c->end - c->at) < count || memcmp(c->at, word, count))
    return false;
  c->at += count;
  return true;
}

/* A number, true, false, null, NaN, Infinity. */
static enum status skip_scalar(struct cursor *c) {
  static const char *const words[] = {"true", "false", "null", "NaN", "Infinity", "-Infinity"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++)
    if (skip_word(c, words[i]))
      return STATUS_OK;
  bool negative = skip_word(c, "-");
  if (c->at == c->end || *c->at < '0' || *c->at > '9')
    return refuse(c, negative ? "a digit" : "a value");
  if (!skip_word(c, "0"))
    TRY(skip_digits(c));
  if (skip_word(c, "."))
    TRY(skip_digits(c));
  if (skip_word(c, "e") || skip_word(c, "E")) {
    if (!skip_word(c, "+"))
      (void)skip_word(c, "-");
    TRY(skip_digits(c));
  }
  return STATUS_OK;
}

static enum status skip_key(struct cursor *c) {
  TRY(skip_string(c));
  return take(c, ':', "':' after a key");
}

/* The containers that are open around the cursor: true where it is an object. */
struct nest {
  size_t depth;
  bool object[RECORD_DEPTH_MAX];
};

/* Step over a scalar, or into a container: *whole says that the value ended. */
static enum status enter_value(struct cursor *c, struct nest *open, bool *whole) {
  *whole = true;
  if (next_is(c, '"'))
    return skip_string(c);
  bool object = next_is(c, '{');
  if (!object && !next_is(c, '['))
    return skip_scalar(c);
  if (open->depth == RECORD_DEPTH_MAX)
    return why_say(c->why, STATUS_BAD, "byte %zu: nested deeper than %d",
                   (size_t)(c->at - c->begin) + 1, RECORD_DEPTH_MAX);
  c->at++;
  if (next_is(c, object ? '}' : ']')) {
    c->at++;
    return STATUS_OK;
  }
  open->object[open->depth++] = object;
  *whole = false;
  return object ? skip_key(c) : STATUS_OK;
}

static enum status skip_value(struct cursor *c) {
  struct nest open = {.depth = 0};
  bool whole;
  do {
    TRY(enter_value(c, &open, &whole));
    while (whole && open.depth) {
      bool object = open.object[open.depth - 1];
      if (next_is(c, object ? '}' : ']')) {
        c->at++;
        open.depth--;
        continue;
      }
      TRY(take(c, ',', object ? "',' or '}'" : "',' or ']'"));
      whole = false;
      if (object)
        TRY(skip_key(c));
    }
  } while (open.depth);
  return STATUS_OK;
}

/* Whether the key at the cursor is "text", however it is written; steps past its colon. */
static enum status take_key(struct cursor *c, bool *is_text) {
  enum { LONGEST = 2 + 4 * 6 }; /* four characters, each as \u0000 */
  uint8_t key[LONGEST];
  size_t key_bytes;
  uint64_t surrogates = 0;
  skip_space(c);
  struct cursor from = *c;
  TRY(skip_key(c));
  *is_text = false;
  from.end = c->at;
  struct cursor whole = from;
  TRY(skip_string(&whole));
  if (whole.at - from.at > LONGEST)
    return STATUS_OK;
  TRY(take_string(&from, key, &key_bytes, &surrogates));
  *is_text = key_bytes == 4 && !memcmp(key, "text", 4);
  return STATUS_OK;
}

enum status record_text(const uint8_t *line, size_t line_bytes, uint8_t *out, size_t *out_bytes,
                        uint64_t *surrogates, struct why *why) {
  struct cursor c = {line, line, line + line_bytes, why};
  bool found = false;
  bool is_string = false;
  bool is_text;
  size_t text_bytes = 0;
  uint64_t replaced = 0;
  TRY(take(&c, '{', "a JSON object, '{'"));
  bool more = !next_is(&c, '}');
  c.at += !more;
  while (more) {
    TRY(take_key(&c, &is_text));
    if (is_text) {
      found = true;
      is_string = next_is(&c, '"');
      replaced = 0;
    }
    if (is_text && is_string) {
      TRY(take_string(&c, out, &text_bytes, &replaced));
    } else {
      TRY(skip_value(&c));
    }
    more = next_is(&c, ',');
    if (!more)
      TRY(take(&c, '}', "',' or '}'"));
    c.at += more;
  }
  skip_space(&c);
  if (c.at != c.end)
    return refuse(&c, "the end of the line");
  if (!found)
    return why_say(why, STATUS_BAD, "the record has no \"text\"");
  if (!is_string)
    return why_say(why, STATUS_BAD, "the record's \"text\" is not a string");
  *out_bytes = text_bytes;
  *surrogates += replaced;
  return STATUS_OK;
}
