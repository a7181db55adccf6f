/* sched_getaffinity and CPU_COUNT are Linux's own. */
#define _GNU_SOURCE
#include "proto/base/io_system.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/limits.h"

enum {
  LINE_BYTES_MAX = 512,
  REDRAW_MS = 200,
  PLAIN_MS = 10000,
  WIDTH_UNKNOWN = 100 /* columns, where the terminal does not say */
};

/* ---- the clock ---- */

static uint64_t clock_ns(clockid_t id) {
  struct timespec t;
  clock_gettime(id, &t);
  return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

uint64_t io_now_ns(void) {
  return clock_ns(CLOCK_MONOTONIC);
}
uint64_t io_now_ms(void) {
  return io_now_ns() / 1000000;
}
uint64_t io_wall_ms(void) {
  return clock_ns(CLOCK_REALTIME) / 1000000;
}

/* ---- the machine ---- */

/* The number after "key" at the start of a line of a small file of the system; false: not there. */
static bool system_number(const char *path, const char *key, uint64_t *out) {
  FILE *in = fopen(path, "re");
  if (!in)
    return false;
  char line[LINE_BYTES_MAX];
  bool found = false;
  size_t key_bytes = strlen(key);
  while (!found && fgets(line, sizeof line, in)) {
    if (strncmp(line, key, key_bytes) != 0)
      continue;
    const char *at = line + key_bytes;
    while (*at == ' ' || *at == '\t')
      at++;
    if (isdigit((unsigned char)*at)) {
      *out = strtoull(at, NULL, 10);
      found = true;
    }
  }
  fclose(in);
  return found;
}

static uint64_t memory_of_machine(const char *key) {
  uint64_t kib = 0;
  return system_number("/proc/meminfo", key, &kib) ? kib * 1024 : 0;
}

/* The folder of this process's cgroup (version 2), or of the root. */
static void cgroup_folder(char out[PATH_BYTES_MAX]) {
  static const char root[] = "/sys/fs/cgroup";
  char line[PATH_BYTES_MAX - sizeof root];
  snprintf(out, PATH_BYTES_MAX, "%s", root);
  FILE *in = fopen("/proc/self/cgroup", "re");
  if (!in)
    return;
  while (fgets(line, sizeof line, in)) {
    line[strcspn(line, "\n")] = 0;
    if (!strncmp(line, "0::/", 4) && !strstr(line, ".."))
      snprintf(out, PATH_BYTES_MAX, "%s%s", root, line + 3);
  }
  fclose(in);
}

/* Cuts the last part of a cgroup folder; false at the root. */
static bool cgroup_up(char folder[PATH_BYTES_MAX]) {
  char *slash = strrchr(folder, '/');
  if (!slash || strlen(folder) <= strlen("/sys/fs/cgroup"))
    return false;
  *slash = 0;
  return true;
}

/* The tightest memory limit over this process, and what is used of it. False: none. */
static bool cgroup_memory(uint64_t *limit, uint64_t *used) {
  char folder[PATH_BYTES_MAX];
  char path[PATH_BYTES_MAX + 32];
  bool found = false;
  cgroup_folder(folder);
  do {
    uint64_t most = 0;
    uint64_t now = 0;
    uint64_t cache = 0;
    snprintf(path, sizeof path, "%s/memory.max", folder);
    if (!system_number(path, "", &most) || (found && most >= *limit))
      continue;
    snprintf(path, sizeof path, "%s/memory.current", folder);
    system_number(path, "", &now);
    snprintf(path, sizeof path, "%s/memory.stat", folder);
    system_number(path, "inactive_file ", &cache);
    *limit = most;
    *used = now > cache ? now - cache : 0;
    found = true;
  } while (cgroup_up(folder));
  if (!found && system_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", "", limit)) {
    found = true;
    if (!system_number("/sys/fs/cgroup/memory/memory.usage_in_bytes", "", used))
      *used = 0;
  }
  return found;
}

uint64_t io_memory_bytes(void) {
  uint64_t machine = memory_of_machine("MemTotal:");
  uint64_t limit = 0;
  uint64_t used = 0;
  return cgroup_memory(&limit, &used) && limit < machine ? limit : machine;
}

uint64_t io_memory_free_bytes(void) {
  uint64_t machine = memory_of_machine("MemAvailable:");
  uint64_t limit = 0;
  uint64_t used = 0;
  if (!cgroup_memory(&limit, &used))
    return machine;
  uint64_t left = limit > used ? limit - used : 0;
  return left < machine ? left : machine;
}

uint64_t io_memory_peak_bytes(void) {
  /* Not ru_maxrss where it can be helped: that one is inherited from the process that started us.
   */
  uint64_t kib = 0;
  struct rusage usage;
  if (system_number("/proc/self/status", "VmHWM:", &kib))
    return kib * 1024;
  return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

/* A container may give more cores than it pays for: cpu.max is "quota period" in microseconds. */
static int cores_of_quota(int cores) {
  char folder[PATH_BYTES_MAX];
  char path[PATH_BYTES_MAX + 32];
  cgroup_folder(folder);
  do {
    unsigned long long quota = 0;
    unsigned long long period = 0;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    FILE *in = fopen(path, "re");
    if (!in)
      continue;
    char line[LINE_BYTES_MAX];
    char *rest = line;
    if (fgets(line, sizeof line, in) && isdigit((unsigned char)line[0])) {
      quota = strtoull(line, &rest, 10);
      period = strtoull(rest, NULL, 10);
    }
    fclose(in);
    if (period > 0 && quota > 0 && (quota + period - 1) / period < (unsigned long long)cores)
      cores = (int)((quota + period - 1) / period);
  } while (cgroup_up(folder));
  return cores;
}

long io_process_id(void) {
  return (long)getpid();
}

int io_core_count(void) {
  cpu_set_t set;
  int cores;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    cores = CPU_COUNT(&set);
  else
    cores = (int)sysconf(_SC_NPROCESSORS_ONLN); /* more cores than cpu_set_t has bits */
  return cores_of_quota(cores > 1 ? cores : 1);
}

/* ---- a person's wish to stop ---- */

static atomic_int stop_asked;

static void on_signal(int number) {
  if (atomic_exchange(&stop_asked, 1))
    _exit(128 + number);
}

void io_stop_catch(void) {
  struct sigaction act;
  memset(&act, 0, sizeof act);
  sigemptyset(&act.sa_mask);
  act.sa_handler = on_signal;
  act.sa_flags = SA_RESTART; /* a half-done read or write goes on; the loop looks afterwards */
  sigaction(SIGINT, &act, NULL);
  sigaction(SIGTERM, &act, NULL);
  act.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &act, NULL);
}

bool io_stop_wanted(void) {
  return atomic_load_explicit(&stop_asked, memory_order_relaxed) != 0;
}
void io_stop_ask(void) {
  atomic_store(&stop_asked, 1);
}

/* ---- the terminal ---- */

bool io_is_terminal(FILE *stream) {
  const char *term = getenv("TERM");
  const char *no_color = getenv("NO_COLOR");
  if (no_color && *no_color)
    return false;
  if (!term || !*term || !strcmp(term, "dumb"))
    return false;
  return isatty(fileno(stream)) == 1;
}

static int columns_of_terminal(void) {
  struct winsize size;
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    return size.ws_col;
  return WIDTH_UNKNOWN;
}

/* Cut to so many characters, so that a redrawn line never wraps. */
static void cut_to_columns(char *text, int columns) {
  for (; *text; text++) {
    if (((unsigned char)*text & 0xc0) != 0x80 && columns-- == 0) {
      *text = 0;
      return;
    }
  }
}

void io_progress_show(struct io_progress *p, bool now, const char *format, ...) {
  bool terminal = io_is_terminal(stderr);
  uint64_t now_ms = io_now_ms();
  uint64_t pause_ms = terminal ? REDRAW_MS : PLAIN_MS;
  if (!now && p->shown_ms != 0 && now_ms - p->shown_ms < pause_ms)
    return;
  p->shown_ms = now_ms;
  char text[LINE_BYTES_MAX];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (terminal) {
    cut_to_columns(text, columns_of_terminal() - 1);
    fprintf(stderr, "\r%s\x1b[K", text);
  } else {
    fprintf(stderr, "%s\n", text);
  }
  fflush(stderr);
  p->open = terminal;
}

void io_progress_end(struct io_progress *p) {
  if (p->open)
    fputc('\n', stderr);
  p->open = false;
  p->shown_ms = 0;
}

/* ---- numbers for people ---- */

/* Divides by 1000 until three digits are left before the point; gives the index of the unit. */
static int scale(double *value, int unit_count) {
  int unit = 0;
  while (fabs(*value) >= 999.5 && unit + 1 < unit_count) {
    *value /= 1000;
    unit++;
  }
  return unit;
}

const char *io_human_bytes(double bytes, char out[32]) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  int unit = scale(&bytes, sizeof units / sizeof units[0]);
  int digits = unit > 0 && fabs(bytes) < 99.95 ? 1 : 0;
  snprintf(out, 32, "%.*f %s", digits, bytes, units[unit]);
  return out;
}

const char *io_human_count(double count, char out[32]) {
  static const char *const units[] = {"", " k", " M", " G", " T", " P", " E"};
  int unit = scale(&count, sizeof units / sizeof units[0]);
  int digits = unit == 0 ? 0 : fabs(count) < 9.995 ? 2 : fabs(count) < 99.95 ? 1 : 0;
  snprintf(out, 32, "%.*f%s", digits, count, units[unit]);
  return out;
}

const char *io_human_seconds(double seconds, char out[32]) {
  if (!(seconds >= 0 && seconds < 1e15)) {
    snprintf(out, 32, "unknown");
    return out;
  }
  uint64_t whole = (uint64_t)(seconds + 0.5);
  uint64_t minutes = whole / 60;
  uint64_t hours = whole / 3600;
  if (seconds < 9.95)
    snprintf(out, 32, "%.1f s", seconds);
  else if (whole < 60)
    snprintf(out, 32, "%" PRIu64 " s", whole);
  else if (whole < 3600)
    snprintf(out, 32, "%" PRIu64 " min %02" PRIu64 " s", minutes, whole % 60);
  else if (hours < 48)
    snprintf(out, 32, "%" PRIu64 " h %02" PRIu64 " min", minutes / 60, minutes % 60);
  else
    snprintf(out, 32, "%" PRIu64 " d %02" PRIu64 " h", minutes / 1440, minutes / 60 % 24);
  return out;
}
