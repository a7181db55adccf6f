/* savepoints: the checkpoints of one run in its folder: which there are, which stay, and that only
 * one process writes there.
 *
 *   TRY(savepoints_lock(folder, &lock, &why));                // makes the folder
 *   TRY(savepoints_list(folder, &list, &why));                // step-20, step-40, …
 *   TRY(savepoints_retain(folder, keep, &why));               // after a new one is whole
 *   savepoints_unlock(&lock);
 *
 * A checkpoint is the folder step-N; what a kill left half done is *.partial-*, swept at the next
 * lock; one that was found damaged is set aside as step-N.damaged. Removing is renaming to a
 * partial name first, so that a kill never leaves half a checkpoint under a whole one's name. */
#ifndef CARAVAN_SAVEPOINTS_H
#define CARAVAN_SAVEPOINTS_H

#include <stddef.h>
#include <stdint.h>

#include "proto/base/limits.h"
#include "proto/base/status.h"

enum { SAVEPOINTS_MAX = 4096 };

struct savepoints {
  size_t count;
  uint64_t steps[SAVEPOINTS_MAX]; /* ascending */
};

struct savepoints_lock {
  int descriptor; /* -1: not held */
};

/* Make the folder, hold it, and sweep what a kill left. REFUSED: another process holds it, by its
 * number. DISK, … */
CHECKED enum status savepoints_lock(const char *folder, struct savepoints_lock *lock,
                                    struct why *why);
void savepoints_unlock(struct savepoints_lock *lock);

/* RANGE: more than SAVEPOINTS_MAX. A folder that is not there has none. */
CHECKED enum status savepoints_list(const char *folder, struct savepoints *out, struct why *why);
/* out[PATH_BYTES_MAX] = folder/step-N */
CHECKED enum status savepoints_path(const char *folder, uint64_t step, char *out, struct why *why);
/* Remove all but the last `keep` (at least one stays). */
CHECKED enum status savepoints_retain(const char *folder, uint64_t keep, struct why *why);
/* Rename step-N to step-N.damaged, in place of an earlier one of that name. */
CHECKED enum status savepoints_set_aside(const char *folder, uint64_t step, struct why *why);

#endif
