#include "node/command.h"

#include <stdio.h>

int command_sample(int argc, char **argv) {
  (void)argc;
  fprintf(stderr, "caravan-node %s: not built yet\n", argv[0]);
  return 70;
}
