// SPDX-License-Identifier: Apache-2.0
//
// lab: `isthmesh lab …` is the program isthmesh-lab beside this one; this hands over to it.
#ifndef CLI_LAB_H
#define CLI_LAB_H

int cli_lab(int argc, char **argv);

#endif
