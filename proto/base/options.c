#include "proto/base/options.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/claim.h"

enum {
  HELP_COLUMNS = 90,    /* help is wrapped here */
  NAME_COLUMNS_MAX = 34 /* a longer "--name VALUE" gets a line of its own */
};

struct unit {
  const char *name;
  uint64_t factor;
};

static const struct unit byte_units[] = {
    {"", 1},
    {"K", 1000},
    {"M", 1000000},
    {"G", UINT64_C(1000000000)},
    {"T", UINT64_C(1000000000000)},
    {"Ki", UINT64_C(1) << 10},
    {"Mi", UINT64_C(1) << 20},
    {"Gi", UINT64_C(1) << 30},
    {"Ti", UINT64_C(1) << 40},
    {NULL, 0},
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};

/* A value that was read and not yet stored. */
union value {
  bool flag;
  int64_t integer;
  double real;
  const char *text;
  uint64_t size;
};

/* ---- one value ---- */

/* A bound or default as a person would write it. */
static const char *show_number(enum option_kind kind, double number, char out[40]) {
  const struct unit *units = kind == OPTION_BYTES         ? byte_units
                             : kind == OPTION_DURATION_MS ? duration_units
                                                          : NULL;
  const char *unit = "";
  double best = number;
  for (; units && units->name; units++) {
    double scaled = number / (double)units->factor;
    if (scaled >= 1 && scaled <= best && floor(scaled) == scaled) {
      best = scaled;
      unit = units->name;
    }
  }
  if (kind == OPTION_DURATION_MS && !*unit && number > 0)
    unit = "ms";
  snprintf(out, 40, kind == OPTION_REAL ? "%g%s" : "%.0f%s", best, unit);
  return out;
}

static bool bounded(const struct option *row) {
  return row->least != 0 || row->most != 0;
}

static enum status wrong_value(const struct option *row, const char *text, struct why *why) {
  static const char *const expected[] = {
      [OPTION_FLAG] = "true or false",
      [OPTION_INT] = "a whole number",
      [OPTION_REAL] = "a number",
      [OPTION_TEXT] = "text",
      [OPTION_BYTES] = "a size such as 64M or 1.5Gi (K M G T, Ki Mi Gi Ti)",
      [OPTION_DURATION_MS] = "a duration such as 500ms, 10s or 2h (ms s m h d)",
  };
  return why_say(why, STATUS_USAGE, "%s: '%.60s' is not %s", row->name, text, expected[row->kind]);
}

static enum status check_bounds(const struct option *row, const char *text, double number,
                                struct why *why) {
  char least[40];
  char most[40];
  if (!bounded(row) || (number >= row->least && number <= row->most))
    return STATUS_OK;
  return why_say(why, STATUS_USAGE, "%s: %.60s is outside what is allowed, %s to %s", row->name,
                 text, show_number(row->kind, row->least, least),
                 show_number(row->kind, row->most, most));
}

/* strtod takes "nan", "inf", hexadecimal and leading spaces; none of them is meant here. */
static bool plain_number(const char *text, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (!isdigit((unsigned char)text[i]) && !strchr("+-.eE", text[i]))
      return false;
  return length > 0;
}

static enum status read_int(const struct option *row, const char *text, union value *out,
                            struct why *why) {
  char *end;
  errno = 0;
  long long number = strtoll(text, &end, 10);
  if (*end || end == text || isspace((unsigned char)*text))
    return wrong_value(row, text, why);
  if (errno == ERANGE)
    return why_say(why, STATUS_USAGE, "%s: %.60s does not fit into 64 bits", row->name, text);
  TRY(check_bounds(row, text, (double)number, why));
  out->integer = number;
  return STATUS_OK;
}

static enum status read_real(const struct option *row, const char *text, union value *out,
                             struct why *why) {
  char *end;
  double number = strtod(text, &end);
  if (*end || !plain_number(text, strlen(text)))
    return wrong_value(row, text, why);
  if (!isfinite(number))
    return why_say(why, STATUS_USAGE, "%s: %.60s is too large for a number", row->name, text);
  TRY(check_bounds(row, text, number, why));
  out->real = number;
  return STATUS_OK;
}

/* Digits with at most one point between or after them. A whole number is read exactly; 1.5Gi goes
 * through double, which is exact for every size a person types with a point. */
static enum status read_sized(const struct option *row, const struct unit *units, const char *text,
                              union value *out, struct why *why) {
  size_t whole = strspn(text, "0123456789");
  size_t digits = whole;
  if (text[digits] == '.')
    digits += 1 + strspn(text + digits + 1, "0123456789");
  const struct unit *unit = units;
  while (unit->name && strcmp(unit->name, text + digits) != 0)
    unit++;
  /* "0" needs no unit. */
  if (!unit->name && digits > 0 && strspn(text, "0") == strlen(text))
    unit = units;
  if (!unit->name || whole == 0)
    return wrong_value(row, text, why);
  errno = 0;
  uint64_t number = strtoull(text, NULL, 10);
  bool fits = errno != ERANGE && number <= UINT64_MAX / unit->factor;
  if (digits > whole) {
    double exact = strtod(text, NULL) * (double)unit->factor;
    fits = exact < 0x1p64;
    number = fits ? (uint64_t)exact : 0;
  } else {
    number *= unit->factor;
  }
  if (!fits)
    return why_say(why, STATUS_USAGE, "%s: %.60s does not fit into 64 bits", row->name, text);
  TRY(check_bounds(row, text, (double)number, why));
  out->size = number;
  return STATUS_OK;
}

static enum status read_flag(const struct option *row, const char *text, union value *out,
                             struct why *why) {
  static const char *const words[] = {"false", "true", "no", "yes", "off", "on", "0", "1"};
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (!strcmp(text, words[i])) {
      out->flag = i % 2 == 1;
      return STATUS_OK;
    }
  }
  return wrong_value(row, text, why);
}

static enum status read_any(const struct option *row, const char *text, union value *out,
                            struct why *why) {
  switch (row->kind) {
    case OPTION_FLAG: return read_flag(row, text, out, why);
    case OPTION_INT: return read_int(row, text, out, why);
    case OPTION_REAL: return read_real(row, text, out, why);
    case OPTION_TEXT: out->text = text; return STATUS_OK;
    case OPTION_BYTES: return read_sized(row, byte_units, text, out, why);
    case OPTION_DURATION_MS: return read_sized(row, duration_units, text, out, why);
  }
  CLAIM(!"a row has a kind");
  return STATUS_USAGE;
}

static void store(const struct option *row, union value v) {
  switch (row->kind) {
    case OPTION_FLAG: *(bool *)row->value = v.flag; break;
    case OPTION_INT: *(int64_t *)row->value = v.integer; break;
    case OPTION_REAL: *(double *)row->value = v.real; break;
    case OPTION_TEXT: *(const char **)row->value = v.text; break;
    case OPTION_BYTES:
    case OPTION_DURATION_MS: *(uint64_t *)row->value = v.size; break;
  }
}

enum status options_read_value(const struct option *row, const char *text, struct why *why) {
  union value v;
  TRY(read_any(row, text, &v, why));
  store(row, v);
  return STATUS_OK;
}

/* ---- the nearest name ---- */

static size_t least_of(size_t a, size_t b) {
  return a < b ? a : b;
}

/* Insertions, deletions, changes and swaps of neighbours between two names (the optimal string
 * alignment distance); names past OPTION_NAME_BYTES_MAX are far from everything. */
static size_t distance(const char *a, const char *b) {
  size_t row[3][OPTION_NAME_BYTES_MAX + 1];
  size_t a_bytes = strlen(a);
  size_t b_bytes = strlen(b);
  if (a_bytes > OPTION_NAME_BYTES_MAX || b_bytes > OPTION_NAME_BYTES_MAX)
    return SIZE_MAX;
  for (size_t j = 0; j <= b_bytes; j++)
    row[0][j] = j;
  for (size_t i = 1; i <= a_bytes; i++) {
    size_t *now = row[i % 3];
    const size_t *before = row[(i - 1) % 3];
    const size_t *two_before = row[(i + 1) % 3];
    now[0] = i;
    for (size_t j = 1; j <= b_bytes; j++) {
      now[j] = least_of(before[j], now[j - 1]) + 1;
      now[j] = least_of(now[j], before[j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = least_of(now[j], two_before[j - 2] + 1);
    }
  }
  return row[a_bytes % 3][b_bytes];
}

const char *options_nearest(const char *typed, const char *const *names) {
  const char *best = NULL;
  const char *begins = NULL;
  size_t typed_bytes = strlen(typed);
  size_t best_distance = typed_bytes / 3 + 1;
  for (; *names; names++) {
    size_t d = distance(typed, *names);
    if (d < typed_bytes && (d < best_distance || (!best && d == best_distance))) {
      best = *names;
      best_distance = d;
    }
    if (!begins && typed_bytes >= 2 && !strncmp(typed, *names, typed_bytes))
      begins = *names;
  }
  return best ? best : begins;
}

/* ---- the line ---- */

static const struct option *find_row(const struct option *table, const char *name, size_t length) {
  for (; table->name; table++)
    if (strlen(table->name) == length && !memcmp(table->name, name, length))
      return table;
  return NULL;
}

static enum status unknown_option(const struct option_command *command, const char *typed,
                                  size_t length, struct why *why) {
  const char *names[OPTION_TABLE_COUNT_MAX + 1];
  char name[OPTION_NAME_BYTES_MAX + 1];
  size_t count = 0;
  for (const struct option *row = command->table; row->name; row++)
    names[count++] = row->name;
  names[count] = NULL;
  snprintf(name, sizeof name, "%.*s", (int)least_of(length, sizeof name), typed);
  const char *near = options_nearest(name, names);
  if (near)
    return why_say(why, STATUS_USAGE, "there is no option --%s; did you mean --%s?", name, near);
  return why_say(why, STATUS_USAGE, "there is no option --%s; '%s --help' lists them", name,
                 command->name);
}

/* What the words of a line said, before any of it is stored. */
struct found {
  union value values[OPTION_TABLE_COUNT_MAX];
  bool seen[OPTION_TABLE_COUNT_MAX];
  int operand_count;
  bool help;
};

/* One "--name…" word at argv[*i]; moves *i past a value in the next word. */
static enum status take_option(const struct option_command *command, int argc, char **argv, int *i,
                               struct found *found, struct why *why) {
  const char *name = argv[*i] + 2;
  size_t length = strcspn(name, "=");
  const char *text = name[length] == '=' ? name + length + 1 : NULL;
  const struct option *row = find_row(command->table, name, length);
  bool negated = false;
  if (!row && length > 3 && !strncmp(name, "no-", 3)) {
    row = find_row(command->table, name + 3, length - 3);
    negated = row && row->kind == OPTION_FLAG;
    row = negated ? row : NULL;
  }
  if (!row)
    return unknown_option(command, name, length, why);
  size_t index = (size_t)(row - command->table);
  if (row->kind == OPTION_FLAG) {
    if (text)
      return why_say(why, STATUS_USAGE, "--%.*s takes no value; write --%s or --no-%s", (int)length,
                     name, row->name, row->name);
    found->values[index].flag = !negated;
    found->seen[index] = true;
    return STATUS_OK;
  }
  if (!text) {
    text = *i + 1 < argc ? argv[*i + 1] : NULL;
    if (!text || !strncmp(text, "--", 2))
      return why_say(why, STATUS_USAGE, "--%s needs a value: --%s %s", row->name, row->name,
                     row->value_name);
    ++*i;
  }
  enum status s = read_any(row, text, &found->values[index], why);
  if (s != STATUS_OK)
    return why_prefix(why, s, "--");
  found->seen[index] = true;
  return STATUS_OK;
}

static bool is_operand(const char *word) {
  return word[0] != '-' || word[1] == 0;
}

/* Reads every word; with `argv_out`, also moves the operands to the front of it. A word is moved
 * only to where a word before it was, so nothing unread is overwritten. */
static enum status read_line(const struct option_command *command, int argc, char **argv,
                             char **argv_out, struct found *found, struct why *why) {
  bool ended = false;
  for (int i = 1; i < argc; i++) {
    if (!ended && !strcmp(argv[i], "--")) {
      ended = true;
    } else if (ended || is_operand(argv[i])) {
      if (argv_out)
        argv_out[found->operand_count] = argv[i];
      found->operand_count++;
    } else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
      found->help = true;
      return STATUS_OK;
    } else if (argv[i][1] != '-') {
      return why_say(why, STATUS_USAGE, "options are long: '%.60s' is not known; '%s --help'",
                     argv[i], command->name);
    } else {
      TRY(take_option(command, argc, argv, &i, found, why));
    }
  }
  return STATUS_OK;
}

enum status options_parse(const struct option_command *command, int argc, char **argv,
                          struct option_operands *operands, struct why *why) {
  struct found found = {.operand_count = 0};
  size_t count = 0;
  while (command->table[count].name)
    count++;
  CLAIM(count <= OPTION_TABLE_COUNT_MAX);
  TRY(read_line(command, argc, argv, NULL, &found, why));
  if (found.help) {
    options_print_help(command, stdout);
    return STATUS_STOPPED;
  }
  const char *what = command->operands ? command->operands : "nothing else";
  if (found.operand_count < command->operand_count_min)
    return why_say(why, STATUS_USAGE, "%s is missing; '%s --help'", what, command->name);
  if (found.operand_count > command->operand_count_max)
    return why_say(why, STATUS_USAGE, "%d words too many; '%s' takes %s; '%s --help'",
                   found.operand_count - command->operand_count_max, command->name, what,
                   command->name);
  found.operand_count = 0;
  TRY(read_line(command, argc, argv, argv + 1, &found, why));
  for (size_t i = 0; i < count; i++)
    if (found.seen[i])
      store(&command->table[i], found.values[i]);
  *operands = (struct option_operands){argv + 1, found.operand_count};
  return STATUS_OK;
}

/* ---- help ---- */

static int columns_of(const char *text) {
  int columns = 0;
  for (; *text; text++)
    columns += ((unsigned char)*text & 0xc0) != 0x80;
  return columns;
}

/* The words of text, from column `column` on, continued at `indent`. */
static void print_wrapped(FILE *out, const char *text, int column, int indent) {
  bool first = true;
  while (*text) {
    char word[HELP_COLUMNS * 4 + 1];
    size_t length = strcspn(text, " ");
    snprintf(word, sizeof word, "%.*s", (int)least_of(length, sizeof word - 1), text);
    text += length + (text[length] == ' ');
    int columns = columns_of(word);
    if (!first && column + 1 + columns > HELP_COLUMNS) {
      fprintf(out, "\n%*s", indent, "");
      column = indent;
      first = true;
    }
    fprintf(out, "%s%s", first ? "" : " ", word);
    column += columns + (first ? 0 : 1);
    first = false;
  }
  fputc('\n', out);
}

/* A value that nobody could give, such as a count of -1, stands for "not given". */
static void show_int(const struct option *row, char out[40]) {
  int64_t number = *(const int64_t *)row->value;
  if (!bounded(row) || ((double)number >= row->least && (double)number <= row->most))
    snprintf(out, 40, "%" PRId64, number);
}

/* "text (default 4; 0 to 256)". */
static void describe(const struct option *row, char *out, size_t out_bytes) {
  char number[40] = "";
  char least[40];
  char most[40];
  const char *given = number;
  switch (row->kind) {
    case OPTION_FLAG: given = *(const bool *)row->value ? "on" : ""; break;
    case OPTION_INT: show_int(row, number); break;
    case OPTION_REAL: snprintf(number, sizeof number, "%g", *(double *)row->value); break;
    case OPTION_TEXT: given = *(const char **)row->value ? *(const char **)row->value : ""; break;
    case OPTION_BYTES:
    case OPTION_DURATION_MS: show_number(row->kind, (double)*(uint64_t *)row->value, number); break;
  }
  bool bounds = bounded(row) && row->kind != OPTION_FLAG && row->kind != OPTION_TEXT;
  int wrote = snprintf(out, out_bytes, "%s", row->help);
  size_t have = least_of(wrote > 0 ? (size_t)wrote : 0, out_bytes - 1);
  if (!*given && !bounds)
    return;
  snprintf(out + have, out_bytes - have, " (%s%s%s%s%s%s)", *given ? "default " : "", given,
           *given && bounds ? "; " : "", bounds ? show_number(row->kind, row->least, least) : "",
           bounds ? " to " : "", bounds ? show_number(row->kind, row->most, most) : "");
}

static void head_of(const struct option *row, char *out, size_t out_bytes) {
  bool flag = row->kind == OPTION_FLAG;
  snprintf(out, out_bytes, "--%s%s%s", row->name, flag ? "" : " ", flag ? "" : row->value_name);
}

void options_print_help(const struct option_command *command, FILE *out) {
  char head[128];
  char text[512];
  int width = columns_of("--help");
  for (const struct option *row = command->table; row->name; row++) {
    head_of(row, head, sizeof head);
    int columns = columns_of(head);
    if (columns <= NAME_COLUMNS_MAX && columns > width)
      width = columns;
  }
  fprintf(out, "%s: %s\n\nusage: %s%s%s%s\n\n", command->name, command->summary, command->name,
          command->table->name ? " [options]" : "", command->operands ? " " : "",
          command->operands ? command->operands : "");
  for (const struct option *row = command->table; row->name; row++) {
    head_of(row, head, sizeof head);
    describe(row, text, sizeof text);
    int columns = columns_of(head);
    fprintf(out, "  %s", head);
    if (columns > width)
      fprintf(out, "\n%*s", width + 4, "");
    else
      fprintf(out, "%*s", width - columns + 2, "");
    print_wrapped(out, text, width + 4, width + 4);
  }
  fprintf(out, "  --help%*sthis page\n", width - columns_of("--help") + 2, "");
}
