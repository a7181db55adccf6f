/* trainer: trains the model of a run file on this machine, from wherever it stopped.
 *
 *   TRY(trainer_run(run, &(struct trainer_options){.progress = true}, &result, &why));
 *
 * In the run's folder: step-N (checkpoints), metrics.jsonl, curve.svg, run.txt (the run's canonical
 * text), lock. If the folder holds checkpoints of this run, training goes on from the newest that
 * is whole; a damaged one is named loudly and set aside. If they are of another run, it is refused
 * with the keys that differ. Going on gives the same bits as not having stopped, on the same
 * machine with the same threads and micro-batch.
 *
 * A step whose loss or gradient is not finite changes nothing, is counted, and after
 * TRAINER_BAD_STEPS_MAX in a row training stops. When the disk is full training stops; the newest
 * checkpoint stays whole and the same command goes on later. */
#ifndef CARAVAN_TRAINER_H
#define CARAVAN_TRAINER_H

#include <stdbool.h>

#include "node/train/runfile.h"

enum { TRAINER_BAD_STEPS_MAX = 10 };

struct trainer_options {
  bool check_only;    /* everything up to the memory plan; nothing is written */
  bool quiet;         /* no words for people: tests */
  uint64_t stop_step; /* stop after this step as if asked to, with a checkpoint; 0: no */
};

struct trainer_result {
  uint64_t step, tokens; /* where the run stands */
  uint64_t skipped_steps;
  double loss; /* of the last step */
};

/* STOPPED: asked to (Ctrl-C, SIGTERM, stop_step), with a checkpoint. MISMATCH: another run's
 * folder, or data that does not fit the model. NOMEM: the plan does not fit, with what would.
 * RANGE: not finite too often. DISK, REFUSED (folder in use), … run may get its model from
 * start_from. */
CHECKED enum status trainer_run(struct runfile *run, const struct trainer_options *options,
                                struct trainer_result *result, struct why *why);

#endif
