/* command: what `caravan-node NAME …` runs. Each returns the process's exit code. */
#ifndef CARAVAN_COMMAND_H
#define CARAVAN_COMMAND_H

int command_tokenize(int argc, char **argv);   /* text to token shards */
int command_detokenize(int argc, char **argv); /* token shards or ids back to text */
int command_train(int argc, char **argv);      /* train a model from a run file on this machine */
int command_curve(int argc, char **argv);      /* draw the losses of a run as a picture */
int command_import(int argc, char **argv);     /* a Hugging Face model directory to a checkpoint */
int command_sample(int argc, char **argv);     /* generate text from a checkpoint */
int command_verify(int argc, char **argv);     /* check every digest of a checkpoint or a corpus */
int command_presets(int argc, char **argv);    /* the models known by name, and what they need */

#endif
