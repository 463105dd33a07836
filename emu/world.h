/* SPDX-License-Identifier: Apache-2.0 */
/** Ways into the worlds that are commands of their own. */
#ifndef EMU_WORLD_H
#define EMU_WORLD_H

/** Libraries behind libfabric (infinipath, psm2) take over the signals of crashes when they are
 * loaded and turn them into exit(1). A crash must look like one: call this first in main(). */
void emu_own_signals(void);

/** `farline node --join ADDR:PORT --name NAME --token-file FILE [--bind ADDR|auto]`: one node,
 * started by the coordinator, a container, ssh or a launcher. @argv may begin with the program's and
 * the command's name. Returns an exit status, or does not return. */
int emu_node_main(int argc, char **argv);

#endif
